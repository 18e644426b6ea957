// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// Calls of the conversation as the model is shown them. Its own calls keep the text that it wrote, so that the cache knows
/// them again; unless someone has changed the arguments since.
/// </summary>
internal static class ToolCallText
{
    /// <exception cref="NotSupportedException">Its arguments have no JSON form.</exception>
    public static KimiToolCall Of(FunctionCallContent call)
    {
        JsonElement arguments = ArgumentsOf(call);
        return call.RawRepresentation is KimiToolCall own && own.Name == call.Name && (call.Exception is not null || Same(own.Arguments, arguments))
            ? own with { Id = call.CallId }
            : new KimiToolCall(call.CallId, call.Name, Arguments(arguments));
    }

    /// <summary>
    /// Arguments that come as JSON, in the form that the models are trained on and write themselves. How a client has escaped and spaced
    /// them says nothing, and would be read.
    /// </summary>
    public static string Arguments(JsonElement json)
    {
        try
        {
            return PythonJson.Write(json);
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair is no text, and can only be shown as it was escaped.
            return json.GetRawText();
        }
    }

    private static JsonElement ArgumentsOf(FunctionCallContent call)
    {
        try
        {
            return JsonSerializer.SerializeToElement(call.Arguments ?? new Dictionary<string, object?>(), CompactJson.Arguments);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // What getters throw may be anything.
            throw new NotSupportedException($"The arguments of the call '{call.CallId}' of '{call.Name}' cannot be shown to the model: {e.Message}", e);
        }
    }

    private static bool Same(string own, JsonElement now)
    {
        try
        {
            using JsonDocument before = JsonDocument.Parse(own);
            return JsonElement.DeepEquals(before.RootElement, now);
        }
        catch (Exception e) when (e is JsonException or ArgumentOutOfRangeException)
        {
            // Models may write what is no JSON, or a number with an exponent that is beyond .NET's, and who copies a call may leave out its exception, which says so.
            return false;
        }
    }
}
