// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Tokens;
using Microsoft.Extensions.AI;

namespace KimiCpu.Server.Ollama;

/// <summary>Reads the bodies of <c>/api/chat</c> and <c>/api/generate</c>. Fields that nobody reads are ignored, as there.</summary>
/// <param name="parts">What dialects share.</param>
internal sealed class OllamaRequestReader(RequestParts parts)
{
    private const float LeastPenalty = 0.01f;
    private const int MostCalls = 1024;
    private const int MostImages = 1024;
    private const int MostStops = 16;

    /// <summary>Whether nothing is asked but to let the model go. It stays, since there is no other, but clients wait for the answer that it is gone.</summary>
    /// <param name="fields">The request.</param>
    /// <param name="chat">Whether questions are messages; else they are a prompt.</param>
    public static bool AsksToUnload(JsonFields fields, bool chat)
    {
        bool isQuestion = chat
            ? fields.Get("messages") is { } messages && !IsEmpty(messages)
            : fields.Text("prompt") is { Length: > 0 };
        return !isQuestion && fields.Get("keep_alive") is { } time && IsZero(time);
    }

    /// <summary>The request; null where there is no message, which asks to load the model only.</summary>
    public AnswerRequest? ReadChat(JsonFields fields)
    {
        IReadOnlyList<(JsonElement Element, string Path)> messages = fields.Items("messages", parts.Options.MaxMessages);
        if (messages.Count == 0)
        {
            return null;
        }

        var conversation = new Conversation();
        foreach ((JsonElement element, string path) in messages)
        {
            ReadMessage(new JsonFields(element, path), conversation);
        }

        return new AnswerRequest
        {
            Messages = conversation.End(),
            Options = ReadOptions(fields) with
            {
                Tools = RequestParts.Distinct([.. fields.Items("tools", parts.Options.MaxTools).Select(t => parts.Function(new JsonFields(t.Element, t.Path)))]),
            },
            Ceiling = ReadCeiling(fields),
            Streams = fields.Flag("stream") ?? true,
        };
    }

    /// <summary>The request; null where there is no prompt, which asks to load the model only.</summary>
    public AnswerRequest? ReadGenerate(JsonFields fields, KimiTokenizer tokenizer)
    {
        foreach (string unknown in (string[])["suffix", "template", "images"])
        {
            if (fields.Get(unknown) is { } given && !IsEmpty(given))
            {
                throw fields.Unsupported(unknown, "the model reads text only, in its own template; raw continues a text without it.");
            }
        }

        if (fields.Text("prompt") is not { Length: > 0 } prompt)
        {
            return null;
        }

        bool raw = fields.Flag("raw") ?? false;
        string? system = fields.Text("system");
        return new AnswerRequest
        {
            Messages = raw ? null : string.IsNullOrEmpty(system) ? [KimiMessage.User(prompt)] : [KimiMessage.System(system), KimiMessage.User(prompt)],
            Prompts = raw ? [tokenizer.Encode(prompt, cancellationToken: parts.Cancelled)] : [],
            Options = ReadOptions(fields),
            Ceiling = ReadCeiling(fields),
            Streams = fields.Flag("stream") ?? true,
        };
    }

    /// <summary>Whether a text or a list has nothing in it.</summary>
    private static bool IsEmpty(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => value.ValueEquals(""u8),
        JsonValueKind.Array => value.GetArrayLength() == 0,
        _ => false,
    };

    /// <summary>A time is a number of seconds, or a text such as 5m.</summary>
    private static bool IsZero(JsonElement time) => time.ValueKind switch
    {
        JsonValueKind.Number => time.TryGetDouble(out double seconds) && seconds == 0,
        JsonValueKind.String => time.GetString()!.Any(char.IsAsciiDigit) && !time.GetString()!.Any(c => c is >= '1' and <= '9'),
        _ => false,
    };

    private static void ReadMessage(JsonFields message, Conversation conversation)
    {
        string role = message.RequiredText("role");
        if (role != "tool" && message.Get("images") is { } images && !IsEmpty(images))
        {
            throw message.Unsupported("images", "the model reads text only.");
        }

        string content = message.Text("content") ?? "";
        switch (role)
        {
            case "system":
                conversation.Add(KimiMessage.System(content));
                break;
            case "user":
                conversation.Add(KimiMessage.User(content));
                break;
            case "assistant":
                conversation.Add(KimiMessage.Assistant(content, message.Text("thinking")) with
                {
                    ToolCalls = [.. message.Items("tool_calls", MostCalls).Select(c => ReadCall(new JsonFields(c.Element, c.Path)))],
                });
                break;
            case "tool":
                // Most results have no ids there, and some an id that its call came back without.
                conversation.AddResult(message, "tool_call_id", ResultOf(message, content), message.Text("tool_name") ?? "");
                break;
            default:
                throw message.Invalid("role", "system, user, assistant or tool");
        }
    }

    /// <summary>A tool's result; its images, which have no type there, are named.</summary>
    private static string ResultOf(JsonFields message, string content)
    {
        var text = new PartsText();
        text.Add(ResultIn(content));
        foreach (string image in message.Texts("images", MostImages).Where(i => i.Length > 0))
        {
            text.AddLine(NotShown.Base64("image", image));
        }

        return text.ToString();
    }

    /// <summary>A result as the tool gave it. Under Microsoft.Extensions.AI, OllamaSharp wraps it together with an id that it does not tell of the call, and which a model takes for a part of the result.</summary>
    private static string ResultIn(string content)
    {
        if (!content.StartsWith("{\"CallId\":", StringComparison.Ordinal))
        {
            return content;
        }

        try
        {
            using JsonDocument wrapped = JsonDocument.Parse(content);
            return wrapped.RootElement.GetPropertyCount() == 2 && wrapped.RootElement.TryGetProperty("Result", out JsonElement result)
                ? result.ValueKind == JsonValueKind.String ? result.GetString()! : CompactJson.Write(result)
                : content;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: half of a surrogate pair in a text.
            return content;
        }
    }

    private static KimiToolCall ReadCall(JsonFields call)
    {
        JsonFields function = call.RequiredFields("function");
        return new KimiToolCall(call.Text("id") ?? "", function.RequiredText("name"), function.Fields("arguments") is { } arguments ? ToolCallText.Arguments(arguments.Element) : "{}");
    }

    private GenerationOptions ReadOptions(JsonFields fields)
    {
        GenerationOptions options = ReadThinking(fields, parts.Options.Defaults());
        if (fields.Get("format") is { } format && !(format.ValueKind == JsonValueKind.String && format.GetString() is ""))
        {
            options = format.ValueKind == JsonValueKind.Object ? parts.Json(format, "format", options)
                : fields.Text("format") == "json" ? parts.Json(null, "format", options)
                : throw fields.Invalid("format", "json or a JSON Schema");
        }

        if (fields.Fields("options") is not { } given)
        {
            return options;
        }

        return options with
        {
            Temperature = (float?)given.Number("temperature", 0, 100) ?? options.Temperature,
            TopK = given.Integer("top_k", -1) is { } k ? Math.Max(0, k) : options.TopK,
            TopP = (float?)given.Number("top_p", 0, 1) is { } share ? Math.Max(share, float.Epsilon) : options.TopP,
            MinP = RequestParts.MinP(given) ?? options.MinP,
            RepetitionPenalty = RepeatPenalty(given) ?? options.RepetitionPenalty,
            PresencePenalty = (float?)given.Number("presence_penalty", -2, 2) ?? options.PresencePenalty,
            FrequencyPenalty = (float?)given.Number("frequency_penalty", -2, 2) ?? options.FrequencyPenalty,
            Seed = RequestParts.Seed(given),
            StopSequences = [.. given.Texts("stop", MostStops).Where(s => s.Length > 0)],
        };
    }

    /// <summary>Null also for 0 and less, which a logit cannot be divided by: LiteLLM sends the <c>frequency_penalty</c> of OpenAI's clients under this name, where 0 is none.</summary>
    private static float? RepeatPenalty(JsonFields options) => options.Number("repeat_penalty", -10, 10) is > 0 and { } penalty ? Math.Max((float)penalty, LeastPenalty) : null;

    /// <summary>As there, more than the context has room for is no mistake: no client asks again for less.</summary>
    private static int? ReadCeiling(JsonFields fields) => fields.Fields("options")?.Integer("num_predict", -2) is > 0 and { } most ? most : null;

    private static GenerationOptions ReadThinking(JsonFields fields, GenerationOptions options) => fields.Get("think") switch
    {
        null or { ValueKind: JsonValueKind.True } => options,
        { ValueKind: JsonValueKind.False } => RequestParts.Effort(ReasoningEffort.None, options),
        _ => RequestParts.Effort(fields, "think", options),
    };
}
