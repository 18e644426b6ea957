// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// What a line of a chat is. One that begins with a slash and a word (<c>/reset</c>) is a command, at a terminal and in a pipe, whether there is such a command or not:
/// a mistyped one is told and not asked. So is one that has nothing but a slash and what has neither blanks nor another slash (<c>/?</c>, <c>/exit.</c>). All others are questions,
/// those that begin with a path or a comment (<c>/etc/fstab</c>, <c>// TODO</c>) as well, and <c>//word</c> asks <c>/word</c>.
/// </summary>
internal static class ChatLine
{
    public static bool IsCommand(string line) => Slashes(line) == 1;

    /// <summary>The question of a line that is no command.</summary>
    public static string Question(string line)
    {
        int first = line.IndexOf('/', StringComparison.Ordinal);
        return Slashes(line) > 1 ? line.Remove(first, 1) : line;
    }

    /// <summary>How many stand before a word that begins the line, if that is one of letters or stands there alone; else 0.</summary>
    private static int Slashes(string line)
    {
        ReadOnlySpan<char> rest = line.AsSpan().Trim();
        int slashes = rest.IndexOfAnyExcept('/');
        if (slashes < 1)
        {
            return 0;
        }

        rest = rest[slashes..];
        int letters = 0;
        int end = 0;
        while (end < rest.Length && !char.IsWhiteSpace(rest[end]))
        {
            letters += char.IsLetter(rest[end]) ? 1 : 0;
            end++;
        }

        bool isWord = end == rest.Length ? !rest.Contains('/') : letters > 0 && letters == end;
        return isWord ? slashes : 0;
    }
}
