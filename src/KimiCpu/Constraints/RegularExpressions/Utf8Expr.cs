// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.RegularExpressions;

/// <summary>UTF-8 of a set of code points: ranges are cut until all their encodings are a row of ranges of bytes.</summary>
internal static class Utf8Expr
{
    private static readonly int[] s_lastOfLength = [0x7F, 0x7FF, 0xFFFF, 0x10FFFF];

    public static Expr Of(CodePointSet set)
    {
        var branches = new List<Expr>();
        ByteSet ascii = default;
        foreach ((int first, int last) in set.Ranges)
        {
            if (first < 0x80)
            {
                ascii |= ByteSet.Range(first, Math.Min(last, 0x7F));
            }

            int from = Math.Max(first, 0x80);
            foreach (int end in s_lastOfLength)
            {
                if (from <= last && from <= end)
                {
                    Add(branches, from, Math.Min(last, end));
                    from = end + 1;
                }
            }
        }

        if (!ascii.IsEmpty)
        {
            branches.Add(Expr.Bytes(ascii));
        }

        return Expr.Choice([.. branches]);
    }

    /// <param name="branches">Where to add.</param>
    /// <param name="first">Encoded in as many bytes as <paramref name="last"/>.</param>
    /// <param name="last">Included.</param>
    private static void Add(List<Expr> branches, int first, int last)
    {
        for (int bits = 6; bits <= 18; bits += 6)
        {
            int low = (1 << bits) - 1;
            if ((first & ~low) == (last & ~low))
            {
                continue;
            }

            if ((first & low) != 0)
            {
                Add(branches, first, first | low);
                Add(branches, (first | low) + 1, last);
                return;
            }

            if ((last & low) != low)
            {
                Add(branches, first, (last & ~low) - 1);
                Add(branches, last & ~low, last);
                return;
            }
        }

        byte[] from = Encode(first);
        byte[] to = Encode(last);
        branches.Add(Expr.Sequence([.. from.Select((b, i) => Expr.Bytes(ByteSet.Range(b, to[i])))]));
    }

    private static byte[] Encode(int value)
    {
        Span<byte> bytes = stackalloc byte[4];
        int length = new System.Text.Rune(value).EncodeToUtf8(bytes);
        return bytes[..length].ToArray();
    }
}
