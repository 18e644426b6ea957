// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.AI;

namespace KimiCpu.Server.Anthropic;

/// <summary>Reads the body of <c>/v1/messages</c>.</summary>
/// <param name="parts">What dialects share.</param>
internal sealed class MessagesRequestReader(RequestParts parts)
{
    private const int MostStops = 16;

    /// <summary>What the interface documents as the least budget.</summary>
    private const int LeastBudget = 1024;

    private static readonly HashSet<string> s_known =
    [
        "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice", "thinking", "output_config", "output_format",
        "cache_control", "context_management", "diagnostics", "inference_geo", "metadata", "service_tier", "speed", "thread", "user_profile_id", "workspace_id",
    ];

    /// <param name="fields">The request.</param>
    /// <param name="counts">Whether tokens are counted only, so that the limit of the answer may be left out.</param>
    public AnswerRequest Read(JsonFields fields, bool counts = false)
    {
        fields.RefuseOthers(s_known);
        if (fields.Has("thread"))
        {
            throw new RequestException(StatusCodes.Status400BadRequest, "The server keeps no conversations: send the whole one without thread.", "thread", AnthropicDialect.ThreadUnsupported);
        }

        if (fields.Get("max_tokens") is { ValueKind: JsonValueKind.Number } most && most.TryGetDouble(out double limit) && limit == 0)
        {
            throw fields.Unsupported("max_tokens", "0 fills the cache without an answer, which the server does with answers only; ask for 1 or more.");
        }

        GenerationOptions options = parts.Options.Defaults();
        options = options with
        {
            MaxTokens = fields.Integer("max_tokens", 1) ?? (counts ? null : throw fields.Missing("max_tokens")),
            Temperature = (float?)fields.Number("temperature", 0, 1) ?? options.Temperature,
            TopP = (float?)fields.Number("top_p", 0, 1) is { } share ? Math.Max(share, float.Epsilon) : options.TopP,
            TopK = fields.Integer("top_k", 0),
            StopSequences = [.. fields.Texts("stop_sequences", MostStops).Select(s => s.Length is > 0 and <= 1024 ? s : throw fields.Invalid("stop_sequences", "texts of 1 … 1024 characters"))],
            Tools = RequestParts.Distinct([.. fields.Items("tools", parts.Options.MaxTools).Select(t => Tool(new JsonFields(t.Element, t.Path)))]),
        };
        options = ReadThinking(fields, options);
        JsonFields? choice = fields.Fields("tool_choice");
        options = options with { ToolChoice = choice is { } given ? ReadChoice(given, options.Tools) : ToolChoice.Auto };
        JsonFields? output = fields.Fields("output_config");
        options = output is { } config ? ReadEffort(config, fields.Fields("thinking"), options) : options;
        if ((output?.Fields("format") ?? fields.Fields("output_format")) is { } format)
        {
            options = format.RequiredText("type") == "json_schema"
                ? parts.Json(format.RequiredFields("schema").Element, format.PathOf("schema"), options)
                : throw format.Invalid("type", "json_schema");
        }

        return new AnswerRequest
        {
            Messages = new MessagesReader(parts.Options.MaxMessages).Read(fields),
            Options = options,
            SingleToolCall = choice?.Flag("disable_parallel_tool_use") ?? false,
            Streams = fields.Flag("stream") ?? false,
        };
    }

    private KimiTool Tool(JsonFields tool) => tool.Text("type") is null or "custom"
        ? parts.Tool(tool, "name", "description", "input_schema")
        : throw tool.Unsupported("type", $"the server has no tools of its own; found '{tool.Text("type")}'.");

    /// <summary>There is no reasoning unless it is asked for, as the interface documents it.</summary>
    private static GenerationOptions ReadThinking(JsonFields fields, GenerationOptions options)
    {
        if (fields.Fields("thinking") is not { } thinking)
        {
            return RequestParts.Effort(ReasoningEffort.None, options);
        }

        return thinking.RequiredText("type") switch
        {
            "enabled" => options with { MaxReasoningTokens = thinking.Integer("budget_tokens", LeastBudget) ?? throw thinking.Missing("budget_tokens") },
            "adaptive" => options,
            "disabled" => RequestParts.Effort(ReasoningEffort.None, options),
            _ => throw thinking.Invalid("type", "enabled, adaptive or disabled"),
        };
    }

    /// <summary>How much reasoning there is follows the effort where the model is to decide about it; whether there is any does not.</summary>
    private static GenerationOptions ReadEffort(JsonFields output, JsonFields? thinking, GenerationOptions options)
    {
        GenerationOptions read = RequestParts.Effort(output, "effort", options);
        return thinking?.Text("type") == "adaptive" ? read : options;
    }

    private static ToolChoice ReadChoice(JsonFields choice, IReadOnlyList<KimiTool> tools) => choice.RequiredText("type") switch
    {
        "auto" => ToolChoice.Auto,
        "none" => ToolChoice.None,
        "any" => tools.Count > 0 ? ToolChoice.Required : throw choice.Unsupported("type", "there are no tools that could be called."),
        "tool" => tools.Any(t => t.Name == choice.RequiredText("name")) ? ToolChoice.Named(choice.RequiredText("name")) : throw choice.Invalid("name", "the name of one of the tools"),
        _ => throw choice.Invalid("type", "auto, any, tool or none"),
    };
}
