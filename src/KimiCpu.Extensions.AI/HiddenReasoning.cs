// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI;

/// <summary>
/// Reasoning that the caller does not want to see. Its content has no text and carries it as protected data, so that it comes back with the
/// conversation: between the calls of a turn the model is shown what it thought.
/// </summary>
internal static class HiddenReasoning
{
    /// <summary>What other providers protect means nothing here.</summary>
    private const string Mark = KimiChatClient.ProviderName + ":";

    public static TextReasoningContent Make(string reasoning) => new("") { ProtectedData = Mark + reasoning };

    /// <summary>What a content hides; empty where it hides nothing of ours.</summary>
    public static string In(TextReasoningContent content) =>
        content.ProtectedData is { } data && data.StartsWith(Mark, StringComparison.Ordinal) ? data[Mark.Length..] : "";
}
