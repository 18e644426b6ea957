// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>A question of several lines, at a terminal and in a pipe: from three quotes that begin a line to three that end one, as Ollama has it.</summary>
internal static class QuotedQuestion
{
    private const string Quotes = "\"\"\"";

    public static bool Begins(string line) => line.AsSpan().TrimStart().StartsWith(Quotes, StringComparison.Ordinal);

    /// <param name="first">The line that begins it.</param>
    /// <param name="next">Gives the others; null at the end of the input.</param>
    /// <returns>What stands between the quotes, without lines that have nothing but those; null where the input ends within.</returns>
    public static string? Read(string first, Func<string?> next)
    {
        List<string> lines = [];
        string line = first.TrimStart()[Quotes.Length..];
        while (!line.AsSpan().TrimEnd().EndsWith(Quotes, StringComparison.Ordinal))
        {
            lines.Add(line);
            if (next() is not { } another)
            {
                return null;
            }

            line = another;
        }

        lines.Add(line.TrimEnd()[..^Quotes.Length]);
        int begin = string.IsNullOrWhiteSpace(lines[0]) ? 1 : 0;
        int end = lines.Count > begin && string.IsNullOrWhiteSpace(lines[^1]) ? 1 : 0;
        return string.Join('\n', lines[begin..^end]);
    }
}
