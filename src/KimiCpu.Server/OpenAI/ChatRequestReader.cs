// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Reads the body of <c>/v1/chat/completions</c>.</summary>
/// <param name="parts">What dialects share.</param>
internal sealed class ChatRequestReader(RequestParts parts)
{
    private static readonly HashSet<string> s_known =
    [
        "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "max_tokens", "max_completion_tokens", "n",
        "functions", "function_call", "modalities", "audio", "web_search_options",
        "chat_template_kwargs", "thinking", "max_reasoning_tokens", "logprobs", "top_logprobs",
        .. SamplingReader.Fields,
        "metadata", "moderation", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store", "user", "verbosity",
    ];

    /// <summary>Whether the last piece of a stream is to say what it cost.</summary>
    public static bool WantsUsage(JsonFields fields) => fields.Fields("stream_options")?.Flag("include_usage") ?? false;

    public AnswerRequest Read(JsonFields fields)
    {
        fields.RefuseOthers(s_known);
        RefuseUnsupported(fields);
        GenerationOptions options = SamplingReader.Read(fields, parts.Options.Defaults());
        options = options with
        {
            MaxTokens = fields.Integer("max_completion_tokens", 1) ?? fields.Integer("max_tokens", 1),
            LogProbabilities = fields.Flag("logprobs") ?? false,
            TopLogProbabilities = fields.Integer("top_logprobs", 0, 20) ?? 0,
            Tools = RequestParts.Distinct([.. fields.Items("tools", parts.Options.MaxTools).Select(t => parts.Function(new JsonFields(t.Element, t.Path)))]),
        };
        if (options.TopLogProbabilities > 0 && !options.LogProbabilities)
        {
            throw fields.Unsupported("top_logprobs", "set logprobs to true beside it.");
        }

        options = ReadReasoning(fields, options);
        options = options with { ToolChoice = ReadChoice(fields, options.Tools) };
        options = ReadFormat(fields, options);
        return new AnswerRequest
        {
            Messages = new ChatMessageReader(parts.Options.MaxMessages).Read(fields),
            Options = options,
            Choices = fields.Integer("n", 1, parts.Options.MaxChoices) ?? 1,
            SingleToolCall = fields.Flag("parallel_tool_calls") == false,
            Streams = fields.Flag("stream") ?? false,
        };
    }

    private static void RefuseUnsupported(JsonFields fields)
    {
        foreach (string old in (string[])["functions", "function_call"])
        {
            if (fields.Has(old))
            {
                throw fields.Unsupported(old, "use tools and tool_choice.");
            }
        }

        if (fields.Texts("modalities", 8).Any(m => m != "text") || fields.Has("audio"))
        {
            throw fields.Unsupported(fields.Has("audio") ? "audio" : "modalities", "the model reads and writes text only.");
        }

        if (fields.Has("web_search_options"))
        {
            throw fields.Unsupported("web_search_options", "the server has no tools of its own.");
        }
    }

    private static GenerationOptions ReadReasoning(JsonFields fields, GenerationOptions options)
    {
        options = RequestParts.Effort(fields, "reasoning_effort", options);
        if (fields.Fields("thinking") is { } thinking)
        {
            // As Moonshot's own interface has it.
            options = thinking.Text("type") switch
            {
                "enabled" => options with { Thinking = true },
                "disabled" => RequestParts.Effort(Microsoft.Extensions.AI.ReasoningEffort.None, options),
                _ => throw thinking.Invalid("type", "enabled or disabled"),
            };
        }

        JsonFields? template = fields.Fields("chat_template_kwargs");
        template?.RefuseOthers(new HashSet<string> { "thinking", "enable_thinking", "preserve_thinking" });
        return options with
        {
            Thinking = template?.Flag("thinking") ?? template?.Flag("enable_thinking") ?? options.Thinking,
            PreserveThinking = template?.Flag("preserve_thinking") ?? options.PreserveThinking,
            MaxReasoningTokens = fields.Integer("max_reasoning_tokens", 0) ?? options.MaxReasoningTokens,
        };
    }

    private static ToolChoice ReadChoice(JsonFields fields, IReadOnlyList<KimiTool> tools) => ToolChoiceReader.Read(fields, tools, choice =>
        choice.Text("type") is "function" or null
            ? choice.RequiredFields("function")
            : throw choice.Unsupported("type", "a choice is none, auto, required, or {\"type\": \"function\", \"function\": {\"name\": …}}."));

    private GenerationOptions ReadFormat(JsonFields fields, GenerationOptions options)
    {
        if (fields.Fields("response_format") is not { } format)
        {
            return options;
        }

        switch (format.RequiredText("type"))
        {
            case "text":
                return options;
            case "json_object":
                return parts.Json(null, "response_format", options);
            case "json_schema":
                JsonFields described = format.RequiredFields("json_schema");
                return parts.Json(described.RequiredFields("schema").Element, described.PathOf("schema"), options);
            default:
                throw format.Invalid("type", "text, json_object or json_schema");
        }
    }
}
