// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Server.Anthropic;

/// <summary>
/// What Claude Code puts before its instructions, also where another server than Anthropic's is to read them: a line with its version and a checksum that is
/// another in every request. It means nothing to the model, and since it stands where the prompt begins, nothing behind it would ever be found in the cache.
/// </summary>
internal static class BillingLine
{
    private const string Begin = "x-anthropic-billing-header:";

    /// <summary>The first text of the system prompt without the line; empty where there is nothing else in it.</summary>
    public static string TakenFrom(string text)
    {
        if (!text.StartsWith(Begin, StringComparison.Ordinal))
        {
            return text;
        }

        int end = text.IndexOf('\n', StringComparison.Ordinal);
        return end < 0 ? "" : text[(end + 1)..];
    }
}
