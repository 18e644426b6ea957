// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Turns messages into those of the model. Only text can be read; other contents are refused, none is dropped.</summary>
internal static class MessageReader
{
    private static readonly ChatRole s_developer = new("developer");

    /// <param name="messages">In order.</param>
    /// <param name="instructions">A system message before all others; null for none.</param>
    /// <exception cref="NotSupportedException">A content is no text, or a role is not known.</exception>
    /// <exception cref="ArgumentException">There is no message, or a message or a content is null.</exception>
    public static IReadOnlyList<KimiMessage> Read(IEnumerable<ChatMessage> messages, string? instructions)
    {
        var conversation = new List<KimiMessage>();
        if (!string.IsNullOrEmpty(instructions))
        {
            conversation.Add(KimiMessage.System(instructions));
        }

        int before = conversation.Count;
        var ids = new ForeignIds();
        foreach ((int i, ChatMessage message) in messages.Index())
        {
            if (message is null || message.Contents.Contains(null!))
            {
                throw new ArgumentException(message is null ? $"messages[{i}] is null." : $"messages[{i}].Contents[{message.Contents.IndexOf(null!)}] is null.", nameof(messages));
            }

            Read(message, ids, conversation);
        }

        return conversation.Count > before ? conversation : throw new ArgumentException("A conversation has at least one message.", nameof(messages));
    }

    private static void Read(ChatMessage message, ForeignIds ids, List<KimiMessage> conversation)
    {
        KimiRole role = RoleOf(message.Role);
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
                    parts.AddReasoning(thought.Text + HiddenReasoning.In(thought));
                    break;
                case TextContent plain:
                    parts.AddText(plain.Text);
                    break;
                case FunctionCallContent call:
                    parts.AddCall(ids.Called(ToolCallText.Of(call)));
                    break;
                case FunctionResultContent result:
                    parts.AddResult(KimiMessage.Tool(ids.Answered(result.CallId), ToolResultText.Of(result)));
                    break;
                case UsageContent:
                    // What an earlier answer cost is no part of what was said.
                    break;
                default:
                    throw Refusal(content, message.Role);
            }
        }

        conversation.AddRange(parts.End());
    }

    private static KimiRole RoleOf(ChatRole role) =>
        role == ChatRole.User ? KimiRole.User
        : role == ChatRole.Assistant ? KimiRole.Assistant
        : role == ChatRole.System || role == s_developer ? KimiRole.System
        : role == ChatRole.Tool ? KimiRole.Tool
        : throw new NotSupportedException($"A message has the role '{role}'; there are system, developer, user, assistant and tool.");

    /// <summary>The model answers under its role, so its earlier answers stay under it too, whichever agent signed them.</summary>
    private static string? NameOf(ChatMessage message, KimiRole role) =>
        role is KimiRole.User or KimiRole.System && !string.IsNullOrWhiteSpace(message.AuthorName) ? message.AuthorName : null;

    private static NotSupportedException Refusal(AIContent content, ChatRole role)
    {
        string kind = content switch
        {
            DataContent data => $"{nameof(DataContent)} of type {data.MediaType}",
            UriContent uri => $"{nameof(UriContent)} of type {uri.MediaType}",
            _ => content.GetType().Name,
        };
        return new NotSupportedException($"A message of role '{role}' has {kind}; the model reads text only.");
    }
}
