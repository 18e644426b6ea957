// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>The events of one response in the order in which they go out, each with its number.</summary>
/// <param name="writer">Writes the response around the items.</param>
internal sealed class ResponseEvents(ResponseWriter writer)
{
    private int _sequence;

    public static JsonObject Whole(string what, JsonObject response) => new() { ["type"] = $"response.{what}", ["response"] = response };

    /// <summary>An event with the response before there is anything of it. It may be as long as the request, and come again and again, so it is not made anew.</summary>
    public SseItem<string> Begun(string what) => new($$"""{"type":"response.{{what}}","response":{{writer.Begun}},"sequence_number":{{_sequence++}}}""", $"response.{what}");

    public SseItem<string> Next(JsonObject body)
    {
        body["sequence_number"] = _sequence++;
        return new SseItem<string>(JsonText.Of(body), (string)body["type"]!);
    }

    /// <summary>All of a response that cannot be begun.</summary>
    /// <param name="error">What is wrong with it.</param>
    public IReadOnlyList<SseItem<string>> Refused(RequestException error) => [Begun("created"), Begun(OutputItems.Running), .. Failed(error, [])];

    /// <summary>The end of a response that cannot be finished: OpenAI says twice what went wrong, and some clients look for the first event only, others for the second.</summary>
    /// <param name="error">What went wrong.</param>
    /// <param name="output">What there is of the response.</param>
    public IReadOnlyList<SseItem<string>> Failed(RequestException error, IReadOnlyList<JsonObject> output) => [Next(Error(error)), Next(Whole("failed", writer.Failed(error, output)))];

    /// <summary>An error with its parts beside its type, as it is documented, and below <c>error</c>, as OpenAI sends them and most clients know that it is one.</summary>
    private static JsonObject Error(RequestException error)
    {
        string code = ResponseWriter.CodeOf(error);
        JsonNode parts = ResponsesDialect.Instance.Error(error, "")["error"]!.DeepClone();
        parts["code"] = code;
        return new JsonObject { ["type"] = "error", ["code"] = code, ["message"] = error.Message, ["param"] = error.Parameter, ["error"] = parts };
    }
}
