// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>Damages bytes as hostile or broken downloads might.</summary>
internal static class Mutation
{
    private static readonly string[] s_extremes =
        ["-1", "0", "9223372036854775807", "18446744073709551616", "1e308", "4294967296", "null", "[]", "{}", "\"\"", "\"\\ud800\"", "\u0000", "[[[[[[[["];

    /// <summary>A few random changes: bytes, bits, parts removed or repeated, numbers and values replaced by extreme ones.</summary>
    public static byte[] Apply(byte[] seed, Random random)
    {
        List<byte> bytes = [.. seed];
        for (int i = random.Next(0, 4); i > 0 && bytes.Count > 0; i--)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(7))
            {
                case 0:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    bytes.RemoveRange(at, Math.Min(random.Next(1, 20), bytes.Count - at));
                    break;
                case 3:
                    bytes.InsertRange(at, bytes.GetRange(at, Math.Min(random.Next(1, 60), bytes.Count - at)));
                    break;
                case 4:
                    bytes.InsertRange(at, Encoding.UTF8.GetBytes(s_extremes[random.Next(s_extremes.Length)]));
                    break;
                case 5:
                    ReplaceNumber(bytes, at, s_extremes[random.Next(s_extremes.Length)]);
                    break;
                default:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
            }
        }

        return [.. bytes];
    }

    private static void ReplaceNumber(List<byte> bytes, int from, string replacement)
    {
        int start = bytes.FindIndex(from, b => b is >= (byte)'0' and <= (byte)'9');
        if (start >= 0)
        {
            int end = bytes.FindIndex(start, b => b is < (byte)'0' or > (byte)'9');
            bytes.RemoveRange(start, (end < 0 ? bytes.Count : end) - start);
            bytes.InsertRange(start, Encoding.UTF8.GetBytes(replacement));
        }
    }
}
