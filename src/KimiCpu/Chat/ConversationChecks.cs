// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>Checks a conversation once, at the border, with the place in the message.</summary>
internal static class ConversationChecks
{
    /// <exception cref="ArgumentException">There is no message, or something of one is null.</exception>
    public static void Validate(IReadOnlyList<KimiMessage> messages)
    {
        if (messages.Count == 0)
        {
            throw CallArgument.Messages("A conversation has at least one message.");
        }

        for (int i = 0; i < messages.Count; i++)
        {
            string place = $"messages[{i}]";
            KimiMessage message = Present(messages[i], place, "Every message says something");
            Present(message.Content, $"{place}.Content", "A message without text has an empty one");
            if (!Enum.IsDefined(message.Role))
            {
                throw CallArgument.Messages($"{place}.Role is {message.Role}, which is none of {string.Join(", ", Enum.GetNames<KimiRole>())}.");
            }

            for (int k = 0; k < message.ToolCalls.Count; k++)
            {
                string call = $"{place}.ToolCalls[{k}]";
                Present(message.ToolCalls[k], call, "Every call names a tool");
                Present(message.ToolCalls[k].Id, $"{call}.Id", "A call without an id has an empty one");
                Present(message.ToolCalls[k].Name, $"{call}.Name", "Every call names a tool");
                Present(message.ToolCalls[k].Arguments, $"{call}.Arguments", "A call without arguments has {}");
            }
        }
    }

    private static T Present<T>(T? value, string place, string instead)
        where T : class => value ?? throw CallArgument.Messages($"{place} is null. {instead}.");
}
