// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Server.Http;

/// <summary>
/// Halves of surrogate pairs in the texts of a body. JavaScript's clients count texts in halves, cut them within a character, as in the result of a tool that is too long, and
/// send what is left as <c>\ud83d</c>. That is no text; and since it is in the conversation from then on, to refuse it would be to refuse every later request as well.
/// </summary>
internal static class SurrogateHalves
{
    /// <summary>Bytes of the escape of one half.</summary>
    private const int Escape = 6;

    /// <summary>Puts U+FFFD in the place of every half that is alone, as readers of UTF-8 do; its escape has as many bytes, so that all places stay.</summary>
    /// <param name="json">Where a backslash is outside of texts, this is no JSON, and its reader says so.</param>
    public static void Replace(Span<byte> json)
    {
        for (int at; (at = json.IndexOf((byte)'\\')) >= 0;)
        {
            json = json[at..];
            if (!IsHalf(json, out char half))
            {
                // What is escaped may be a backslash.
                json = json[Math.Min(2, json.Length)..];
            }
            else if (char.IsHighSurrogate(half) && IsHalf(json[Escape..], out char second) && char.IsLowSurrogate(second))
            {
                json = json[(2 * Escape)..];
            }
            else
            {
                "\\ufffd"u8.CopyTo(json);
                json = json[Escape..];
            }
        }
    }

    private static bool IsHalf(ReadOnlySpan<byte> json, out char half)
    {
        half = default;
        if (json is not [(byte)'\\', (byte)'u', (byte)'d' or (byte)'D', _, _, _, ..] || !ushort.TryParse(json[2..Escape], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort unit))
        {
            return false;
        }

        half = (char)unit;
        return char.IsSurrogate(half);
    }
}
