// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Responses;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Turns messages into those of the model. Only text can be read; other contents are refused, or named where a function returned them; none is dropped.</summary>
internal static class MessageReader
{
    private static readonly ChatRole s_developer = new("developer");

    /// <param name="messages">In order.</param>
    /// <param name="instructions">A system message before all others; null for none.</param>
    /// <exception cref="NotSupportedException">A content is no text, a role is not known, or arguments or a result cannot be written as JSON.</exception>
    /// <exception cref="ArgumentException">There is no message, a message or a content is null, another role than the assistant's reasons or calls tools, or a result answers no call.</exception>
    public static IReadOnlyList<KimiMessage> Read(IEnumerable<ChatMessage> messages, string? instructions)
    {
        ChatMessage[] given = [.. messages];
        if (given.Length == 0)
        {
            throw RequestArgument.Messages("A conversation has at least one message.");
        }

        var conversation = new Conversation();
        if (!string.IsNullOrEmpty(instructions))
        {
            conversation.Add(KimiMessage.System(instructions));
        }

        foreach ((int i, ChatMessage message) in given.Index())
        {
            if (message is null || message.Contents.Contains(null!))
            {
                throw RequestArgument.Messages(message is null ? $"messages[{i}] is null." : $"messages[{i}].Contents[{message.Contents.IndexOf(null!)}] is null.");
            }

            foreach (KimiMessage part in PartsOf(message, $"messages[{i}] of role '{message.Role}'"))
            {
                // The model would name a place of its own list, and members that no ChatMessage has.
                if (part is { Role: KimiRole.Tool, ToolCallId: null or "" } && !conversation.HasOpenCall)
                {
                    throw RequestArgument.Messages(
                        $"messages[{i}] of role '{message.Role}' has a result that names no call, and every call before it is answered. Give results as {nameof(FunctionResultContent)}, with the CallId of their call.");
                }

                conversation.Add(part, message.AuthorName, AnswerOf(message));
            }
        }

        return conversation.End();
    }

    /// <summary>Which of our answers a message is of, or a part of; null where it does not say. Only our ids do: others give one to each part.</summary>
    private static object? AnswerOf(ChatMessage message) => ResponseWriter.IsOwnMessage(message.MessageId) ? message.MessageId : message.RawRepresentation as GenerationResult;

    private static IReadOnlyList<KimiMessage> PartsOf(ChatMessage message, string place)
    {
        KimiRole role = RoleOf(message.Role, place);
        var parts = new MessageParts(new KimiMessage(role, "")
        {
            Name = NameOf(message, role),

            // Of an answer of ours; texts that were changed since are not spelled by them, and are encoded.
            GeneratedTokens = role == KimiRole.Assistant ? (message.RawRepresentation as GenerationResult)?.Tokens : null,
        });
        foreach (AIContent content in message.Contents)
        {
            switch (content)
            {
                case TextReasoningContent thought:
                    parts.AddReasoning(role == KimiRole.Assistant ? thought.Text + HiddenReasoning.In(thought) : throw RequestArgument.Messages($"{place} has {nameof(TextReasoningContent)}; only the assistant reasons."));
                    break;
                case TextContent plain:
                    parts.AddText(plain.Text);
                    break;
                case FunctionCallContent call:
                    parts.AddCall(role == KimiRole.Assistant ? ToolCallText.Of(call) : throw RequestArgument.Messages($"{place} has {nameof(FunctionCallContent)} ('{call.Name}'); only the assistant calls tools."));
                    break;
                case FunctionResultContent result:
                    parts.AddResult(KimiMessage.Tool(result.CallId, ToolResultText.Of(result)));
                    break;
                case UsageContent:
                    // What an earlier answer cost is no part of what was said.
                    break;
                default:
                    throw Refusal(content, place);
            }
        }

        return parts.End();
    }

    private static KimiRole RoleOf(ChatRole role, string place) =>
        role == ChatRole.User ? KimiRole.User
        : role == ChatRole.Assistant ? KimiRole.Assistant
        : role == ChatRole.System || role == s_developer ? KimiRole.System
        : role == ChatRole.Tool ? KimiRole.Tool
        : throw new NotSupportedException($"{place} cannot be shown to the model; there are the roles system, developer, user, assistant and tool.");

    /// <summary>The model answers under its role, so its earlier answers stay under it too, whichever agent signed them.</summary>
    private static string? NameOf(ChatMessage message, KimiRole role) =>
        role is KimiRole.User or KimiRole.System && !string.IsNullOrWhiteSpace(message.AuthorName) ? message.AuthorName : null;

    private static NotSupportedException Refusal(AIContent content, string place)
    {
        string kind = content switch
        {
            DataContent data => $"{nameof(DataContent)} of type {data.MediaType}",
            UriContent uri => $"{nameof(UriContent)} of type {uri.MediaType}",
            _ => content.GetType().Name,
        };
        return new NotSupportedException($"{place} has {kind}; the model reads text only.");
    }
}
