// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary>
/// The text of <c>kimi generate</c>. What is piped in beside a prompt goes before it, as with other tools (<c>kimi generate "Summarize this." &lt; report.txt</c>):
/// a model that does not see the report makes up a summary.
/// </summary>
internal static class PromptText
{
    /// <summary>Who started the program may have left it an input that nobody ever ends.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    /// <param name="prompt">Of the command line; null for none.</param>
    /// <param name="raw">Whether the text is continued, and no question.</param>
    /// <param name="streams">Has the input.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async Task<string> ReadAsync(string? prompt, bool raw, CliStreams streams, CancellationToken cancellationToken)
    {
        if (streams.InputTaker is not null || (prompt is not null && streams.IsTyped))
        {
            return prompt ?? "";
        }

        Task<string> reading = streams.ReadTextAsync(cancellationToken);
        if (prompt is not null && await Task.WhenAny(reading, Task.Delay(s_patience, CancellationToken.None)) != reading)
        {
            await streams.Error.WriteLineAsync("Waiting for the end of standard input, which goes before PROMPT; with `< /dev/null` nothing does.");
        }

        string piped = WithoutLineEnd(await reading, raw);
        if (!string.IsNullOrEmpty(prompt) && piped.Length > 0 && streams.ShowsProgress)
        {
            // A loop that reads its own lines, or the rest of a script, may be what was taken.
            await streams.Error.WriteLineAsync(FormattableString.Invariant($"({Encoding.UTF8.GetByteCount(piped):N0} bytes of standard input go before PROMPT)"));
        }

        return Join(piped, prompt ?? "", raw);
    }

    /// <summary>An empty line ends the text that a question is about.</summary>
    private static string Join(string piped, string prompt, bool raw) =>
        raw || piped.Length == 0 || prompt.Length == 0 ? piped + prompt : $"{piped}\n\n{prompt}";

    /// <summary>`echo` and editors end a text with one that is not meant, and an answer may depend on it. Text that is continued is left as it is.</summary>
    private static string WithoutLineEnd(string text, bool raw) =>
        raw || !text.EndsWith('\n') ? text : text[..^(text.EndsWith("\r\n", StringComparison.Ordinal) ? 2 : 1)];
}
