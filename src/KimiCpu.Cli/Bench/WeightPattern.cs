// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;

namespace KimiCpu.Cli.Bench;

/// <summary>Values as trained weights are spread, to fill memory with.</summary>
internal static class WeightPattern
{
    /// <summary>
    /// Values until they repeat, a prime number of them: more than any branch predictor remembers, since a kernel that branches by values would be measured faster than a model has it,
    /// and no row begins where another one has begun.
    /// </summary>
    private const int Values = 8_388_593;

    /// <summary>Normal ones, and in FP8 scaled so that the largest use the whole range.</summary>
    /// <param name="random">What to draw from.</param>
    /// <param name="halves">BF16, in place of FP8.</param>
    public static byte[] Of(Random random, bool halves)
    {
        // Drawn from so many: the logarithm and the cosine of each would take a second.
        var drawn = new ushort[1 << 16];
        for (int i = 0; i < drawn.Length; i++)
        {
            double value = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(Math.Tau * random.NextDouble());
            drawn[i] = halves ? BFloat16.FromSingle((float)value / 100) : Float8(value * 90);
        }

        var choice = new byte[Values * sizeof(ushort)];
        random.NextBytes(choice);
        Span<ushort> values = MemoryMarshal.Cast<byte, ushort>(choice.AsSpan());
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = drawn[values[i]];
        }

        return halves ? choice : Array.ConvertAll(values.ToArray(), v => (byte)v);
    }

    private static byte Float8(double value)
    {
        int magnitude = Float8E4M3.Values[..0x7F].BinarySearch((float)Math.Abs(value));
        return (byte)((value < 0 ? 0x80 : 0) | Math.Min(magnitude < 0 ? ~magnitude : magnitude, 0x7E));
    }
}
