// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Reads the body of <c>/v1/responses</c>.</summary>
/// <param name="parts">What dialects share.</param>
internal sealed class ResponseRequestReader(RequestParts parts)
{
    private const string LogProbabilities = "message.output_text.logprobs";

    /// <summary>As OpenAI's interface has it.</summary>
    private const int MostMetadata = 16;

    /// <summary>Of <c>reasoning</c>.</summary>
    public static IReadOnlySet<string> ReasoningFields { get; } = new HashSet<string> { "effort", "summary", "generate_summary", "context", "mode" };

    /// <summary>Of <c>text</c>.</summary>
    public static IReadOnlySet<string> TextFields { get; } = new HashSet<string> { "format", "verbosity" };

    private static readonly HashSet<string> s_known =
    [
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "max_output_tokens", "max_reasoning_tokens", "include", "top_logprobs",
        "background", "conversation", "previous_response_id", "prompt", "truncation",
        .. SamplingReader.Fields,
        "client_metadata", "context_management", "max_tool_calls", "metadata", "moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store", "user",
    ];

    /// <summary>What a response can contain more of; all but the log-probabilities belongs to tools that are not there, or is in the response anyway.</summary>
    private static readonly HashSet<string> s_included =
    [
        LogProbabilities, "reasoning.encrypted_content", "code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
        "message.input_image.image_url", "web_search_call.action.sources", "web_search_call.results",
    ];

    public ResponseRequest Read(JsonFields fields)
    {
        fields.RefuseOthers(s_known);
        RefuseUnsupported(fields);
        GenerationOptions options = SamplingReader.Read(fields, parts.Options.Defaults());
        options = options with
        {
            MaxTokens = fields.Integer("max_output_tokens", 1),
            LogProbabilities = WantsLogProbabilities(fields),
            TopLogProbabilities = fields.Integer("top_logprobs", 0, 20) ?? 0,
            Tools = ToolsReader.Tools(fields, parts),
        };
        if (options.TopLogProbabilities > 0 && !options.LogProbabilities)
        {
            throw fields.Unsupported("top_logprobs", $"list {LogProbabilities} in include beside it.");
        }

        options = options with { ToolChoice = ToolsReader.Choice(fields, options.Tools) };
        options = ReadReasoning(fields, options);
        return new ResponseRequest(
            new AnswerRequest
            {
                Messages = new InputReader(parts.Options.MaxMessages).Read(fields),
                Options = ReadFormat(fields, options),
                SingleToolCall = fields.Flag("parallel_tool_calls") == false,
                Streams = fields.Flag("stream") ?? false,
            },
            fields,
            WantsSummary(fields));
    }

    private static void RefuseUnsupported(JsonFields fields)
    {
        foreach (string stored in (string[])["previous_response_id", "conversation"])
        {
            if (fields.Has(stored))
            {
                throw fields.Unsupported(stored, "nothing is stored here; send the whole conversation as input.");
            }
        }

        if (fields.Has("prompt"))
        {
            throw fields.Unsupported("prompt", "there are no prompts in store here; send instructions and input.");
        }

        if (fields.Flag("background") == true)
        {
            throw fields.Unsupported("background", "nothing is stored here, so answers cannot be fetched later; stream them instead.");
        }

        if (fields.Text("truncation") is not (null or "disabled"))
        {
            throw fields.Unsupported("truncation", "input that does not fit is refused, never shortened; use disabled.");
        }

        // Nothing is, whatever it says; but it has to say something.
        _ = fields.Flag("store");
        if (fields.Fields("metadata") is { } metadata)
        {
            foreach (JsonProperty property in metadata.All(MostMetadata, "fields"))
            {
                if (property.Value.ValueKind is not (JsonValueKind.String or JsonValueKind.Null))
                {
                    throw JsonFields.Wrong(metadata.PathOf(property.Name), "a text", property.Value);
                }
            }
        }
    }

    private static bool WantsLogProbabilities(JsonFields fields)
    {
        IReadOnlyList<string> included = fields.Texts("include", s_included.Count);
        return included.All(s_included.Contains) ? included.Contains(LogProbabilities) : throw fields.Invalid("include", $"some of {string.Join(", ", s_included)}");
    }

    private static GenerationOptions ReadReasoning(JsonFields fields, GenerationOptions options)
    {
        if (fields.Fields("reasoning") is { } reasoning)
        {
            reasoning.RefuseOthers(ReasoningFields);
            options = RequestParts.Effort(reasoning, "effort", options);
            if (reasoning.Text("mode") is not (null or "standard"))
            {
                throw reasoning.Invalid("mode", "standard");
            }

            options = reasoning.Text("context") switch
            {
                null or "auto" => options,
                "current_turn" => options with { PreserveThinking = false },
                "all_turns" => options with { PreserveThinking = true },
                _ => throw reasoning.Invalid("context", "auto, current_turn or all_turns"),
            };
        }

        return options with { MaxReasoningTokens = fields.Integer("max_reasoning_tokens", 0) ?? options.MaxReasoningTokens };
    }

    private static bool WantsSummary(JsonFields fields)
    {
        if (fields.Fields("reasoning") is not { } reasoning)
        {
            return false;
        }

        string name = reasoning.Has("summary") ? "summary" : "generate_summary";
        return reasoning.Text(name) switch
        {
            null => false,
            "auto" or "concise" or "detailed" => true,
            _ => throw reasoning.Invalid(name, "auto, concise or detailed"),
        };
    }

    private GenerationOptions ReadFormat(JsonFields fields, GenerationOptions options)
    {
        if (fields.Fields("text") is not { } text)
        {
            return options;
        }

        text.RefuseOthers(TextFields);
        if (text.Fields("format") is not { } format)
        {
            return options;
        }

        return format.RequiredText("type") switch
        {
            "text" => options,
            "json_object" => parts.Json(null, "text.format", options),
            "json_schema" => parts.Json(format.RequiredFields("schema").Element, format.PathOf("schema"), options),
            _ => throw format.Invalid("type", "text, json_object or json_schema"),
        };
    }
}
