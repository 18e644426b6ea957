// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Responses;

/// <summary>One answer in the ecosystem's terms, whole or in pieces.</summary>
internal sealed class ResponseWriter
{
    private const string MessagePrefix = "kimi-msg-";

    private readonly string _modelName;
    private readonly bool _showsReasoning;
    private readonly StringBuilder _hidden = new();
    private readonly string _responseId = $"kimi-{Guid.NewGuid():N}";
    private readonly string _messageId = $"{MessagePrefix}{Guid.NewGuid():N}";
    private readonly DateTimeOffset _createdAt = DateTimeOffset.UtcNow;

    /// <param name="modelName">Of the model that answers.</param>
    /// <param name="showsReasoning">Whether the caller is shown the reasoning.</param>
    public ResponseWriter(string modelName, bool showsReasoning)
    {
        _modelName = modelName;
        _showsReasoning = showsReasoning;
    }

    /// <summary>Whether an id is that of an answer, which all of its pieces have.</summary>
    public static bool IsOwnMessage(string? id) => id?.StartsWith(MessagePrefix, StringComparison.Ordinal) == true;

    /// <summary>The whole answer.</summary>
    public ChatResponse Whole(GenerationResult result)
    {
        var contents = new List<AIContent>();
        AddReasoning(contents, result.Reasoning ?? "", isWhole: true);
        AddText(contents, result.Text);
        contents.AddRange(result.ToolCalls.Select(Call));
        var message = new ChatMessage(ChatRole.Assistant, contents) { MessageId = _messageId, CreatedAt = _createdAt, RawRepresentation = result };
        return new ChatResponse(message)
        {
            ResponseId = _responseId,
            CreatedAt = _createdAt,
            ModelId = _modelName,
            FinishReason = Reason(result.FinishReason),
            Usage = Usage(result.Usage),
            RawRepresentation = result,
        };
    }

    /// <summary>The next piece; null where the update has nothing to show yet.</summary>
    public ChatResponseUpdate? Piece(GenerationUpdate update)
    {
        var contents = new List<AIContent>();
        AddReasoning(contents, update.Reasoning, isWhole: update.Text.Length > 0 || update.ToolCalls.Count > 0 || update.Result is not null);
        AddText(contents, update.Text);

        // A call that was cut off must not be carried out, so only its answer's finish reason tells of it.
        contents.AddRange(update.ToolCalls.OfType<ToolCallEnded>().Where(c => c.IsComplete).Select(c => Call(c.Call)));
        if (update.Result is { } result)
        {
            contents.Add(new UsageContent(Usage(result.Usage)));
        }

        return contents.Count == 0 && update.LogProbabilities.Count == 0 ? null : new ChatResponseUpdate(ChatRole.Assistant, contents)
        {
            ResponseId = _responseId,
            MessageId = _messageId,
            CreatedAt = _createdAt,
            ModelId = _modelName,
            FinishReason = update.Result is null ? null : Reason(update.Result.FinishReason),
            RawRepresentation = update,
        };
    }

    private static FunctionCallContent Call(KimiToolCall call)
    {
        FunctionCallContent content = FunctionCallContent.CreateFromParsedArguments(
            call.Arguments, call.Id, call.Name, static text => JsonSerializer.Deserialize(text, CompactJson.Arguments)!);
        content.RawRepresentation = call;
        return content;
    }

    private static ChatFinishReason Reason(FinishReason reason) => reason switch
    {
        FinishReason.Stop => ChatFinishReason.Stop,
        FinishReason.Length => ChatFinishReason.Length,
        FinishReason.ToolCalls => ChatFinishReason.ToolCalls,
        _ => throw new NotSupportedException($"There is no finish reason for {reason}."),
    };

    private static UsageDetails Usage(GenerationUsage usage) => new()
    {
        InputTokenCount = usage.PromptTokens,
        OutputTokenCount = usage.CompletionTokens,
        TotalTokenCount = usage.PromptTokens + usage.CompletionTokens,
        CachedInputTokenCount = usage.CachedTokens,
        ReasoningTokenCount = usage.ReasoningTokens,
    };

    /// <param name="contents">Of the answer or a piece of it.</param>
    /// <param name="reasoning">More of it.</param>
    /// <param name="isWhole">Whether nothing more of it comes, so that what is hidden is handed out in one piece.</param>
    private void AddReasoning(List<AIContent> contents, string reasoning, bool isWhole)
    {
        if (_showsReasoning)
        {
            if (reasoning.Length > 0)
            {
                contents.Add(new TextReasoningContent(reasoning));
            }

            return;
        }

        _hidden.Append(reasoning);
        if (isWhole && _hidden.Length > 0)
        {
            contents.Add(HiddenReasoning.Make(_hidden.ToString()));
            _hidden.Clear();
        }
    }

    private static void AddText(List<AIContent> contents, string text)
    {
        if (text.Length > 0)
        {
            contents.Add(new TextContent(text));
        }
    }
}
