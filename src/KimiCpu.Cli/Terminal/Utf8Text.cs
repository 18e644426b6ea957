// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Text;

namespace KimiCpu.Cli.Terminal;

/// <summary>Text from files and pipes. What is not UTF-8 is refused: with its letters replaced a model would answer another question.</summary>
internal static class Utf8Text
{
    /// <summary>What to do, for a message. A text that was cut within a letter, or has one that is damaged, is in no encoding.</summary>
    public static string Remedy => OperatingSystem.IsWindows()
        ? "Save it as UTF-8; what PowerShell pipes is that after `$OutputEncoding = [Text.Encoding]::UTF8`, what other programs write in a console after `chcp 65001`"
        : "`iconv -f ENCODING -t UTF-8` makes it that; where a letter is cut off or damaged, `iconv -c -f UTF-8 -t UTF-8` leaves it out";

    /// <param name="bytes">UTF-8, or what the mark at its beginning says.</param>
    /// <param name="place">Where they come from, for the message.</param>
    /// <exception cref="FormatException">They are in another encoding.</exception>
    public static string Of(byte[] bytes, string place)
    {
        using var reader = new StreamReader(new MemoryStream(bytes), Encoding.UTF8);
        string text = reader.ReadToEnd();
        if (reader.CurrentEncoding is UTF8Encoding && FirstWrong(bytes) is { } wrong)
        {
            throw new FormatException(FormattableString.Invariant($"{place} is not UTF-8: byte {wrong + 1:N0} is 0x{bytes[wrong]:X2}. {Remedy}."));
        }

        return text;
    }

    /// <returns>Null where all of them are UTF-8.</returns>
    private static int? FirstWrong(ReadOnlySpan<byte> bytes)
    {
        int at = 0;
        while (at < bytes.Length)
        {
            if (Rune.DecodeFromUtf8(bytes[at..], out _, out int length) != OperationStatus.Done)
            {
                return at;
            }

            at += length;
        }

        return null;
    }
}
