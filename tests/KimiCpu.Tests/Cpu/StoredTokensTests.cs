// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

/// <summary>Stored INT4 rows times a few tokens at once, by every kernel that this machine has: the scalar kernel's bits of one token after another.</summary>
[TestFixture]
[Category("Kernels")]
internal sealed unsafe class StoredTokensTests
{
    private const int Stride = 144;

    private static IEnumerable<TileKernelKind> Kinds => TileKernel.Supported;

    [Test]
    public void Every_width([ValueSource(nameof(Kinds))] TileKernelKind kind)
    {
        foreach (int columns in new[] { 1, 16, 31, 32, 33, 127, 128, 129, 256, 300, 384, 480, 511, 512, 513, 544, 1000, 1024, 2048, 2080, 7168, 7200 })
        {
            int rows = 32 + (columns % 9);
            using var few = new RandomMatrix(WeightFormat.Int4Group32, 5, columns, columns);
            using var weight = new RandomMatrix(WeightFormat.Int4Group32, rows, columns, columns);
            for (int tokens = 1; tokens <= TileKernel.Of(kind).MostStoredTokens; tokens++)
            {
                using QuantizedRows x = TileKernelTests.Rounded(tokens, columns, columns + tokens);
                Check(kind, weight.Matrix, 0, rows, x, $"{columns} columns, {tokens} tokens");
                Check(kind, few.Matrix, 0, 5, x, $"{columns} columns, {tokens} tokens, 5 rows");
            }
        }
    }

    [Test]
    public void Any_part_of_the_rows([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(576, 1024)] int columns, [Values(2, 4, 6, 9, 11, 13, 17, 24)] int tokens)
    {
        // Several blocks of 32 by themselves, one more, and some rows.
        const int Rows = 139;
        TileKernel kernel = TileKernel.Of(kind);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 2);
        using QuantizedRows x = TileKernelTests.Rounded(Math.Min(tokens, kernel.MostStoredTokens), columns, 3);
        foreach ((int begin, int end) in new[] { (0, 32), (32, Rows), (0, Rows), (7, 8), (31, 70), (Rows - 1, Rows), (40, 40) })
        {
            Check(kind, weight.Matrix, begin, end, x, $"rows {begin} … {end}");
        }
    }

    /// <summary>Weights may begin anywhere in a line and end where memory does.</summary>
    [Test]
    public void Any_address([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(512, 700, 1056)] int columns)
    {
        const int Rows = 43;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 3);
        using QuantizedRows x = TileKernelTests.Rounded(TileKernel.Of(kind).MostStoredTokens, columns, 4);
        for (int behind = 0; behind <= 64; behind++)
        {
            using var data = new GuardedBuffer(weight.Data.Length + behind);
            using var scales = new GuardedBuffer(weight.Scales.Length + behind);
            weight.Data.CopyTo(data.Span);
            weight.Scales.CopyTo(scales.Span);
            Check(kind, new WeightMatrix(WeightFormat.Int4Group32, Rows, columns, data.Pointer, scales.Pointer), 0, Rows, x, $"{behind} bytes before the guard page");
        }
    }

    /// <summary>All nibbles against the largest activations of either sign, scales of any size, and a token that is not a number.</summary>
    [Test]
    public void Extreme_values([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(1024, 1024 + 96)] int columns)
    {
        const int Rows = 32;
        int tokens = TileKernel.Of(kind).MostStoredTokens;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 5);
        for (int row = 0; row < Rows; row++)
        {
            weight.Data.Slice(row * columns / 2, columns / 2).Fill((byte)(row % 16 * 17));
            ushort scale = BFloat16.FromSingle(row switch { 1 => float.MaxValue / 1e4f, 2 => float.PositiveInfinity, 3 => float.NaN, 4 => 1e-40f, 5 => 0, _ => 0.01f });
            MemoryMarshal.Cast<byte, ushort>(weight.Scales).Slice(row * columns / 32, columns / 32).Fill(scale);
        }

        float[] values = [.. Enumerable.Range(0, tokens * columns).Select(i => i / columns % 2 == 0 ? 127f : -127f)];
        values[^1] = 1e30f;
        values[columns - 1] = tokens > 2 ? float.NaN : 127;
        using var x = new QuantizedRows();
        x.Resize(tokens, columns);
        fixed (float* source = values)
        {
            for (int t = 0; t < tokens; t++)
            {
                ActivationQuantizer.Quantize(source + (t * columns), columns, x.Row(t));
            }
        }

        Check(kind, weight.Matrix, 0, Rows, x, "extremes");
    }

    private static void Check(TileKernelKind kind, in WeightMatrix weight, int begin, int end, QuantizedRows x, string what)
    {
        var actual = new float[x.Rows * Stride];
        var expected = new float[actual.Length];
        expected.AsSpan().Fill(-1);
        QuantizedRow[] rows = [.. Enumerable.Range(0, x.Rows).Select(x.Row)];
        fixed (float* z = expected)
        {
            for (int t = 0; t < rows.Length; t++)
            {
                Int4Gemv.Multiply(InstructionSet.Scalar, weight, begin, end, rows[t], z + (t * Stride));
            }
        }

        // Whatever comes next: the rows behind these, nothing, or a weight of another width.
        using var other = new RandomMatrix(WeightFormat.Int4Group32, 40, 96, 1);
        foreach ((WeightMatrix next, int nextRow) in new[] { (weight, end), (default, 0), (other.Matrix, 0) })
        {
            actual.AsSpan().Fill(-1);
            fixed (float* y = actual)
            {
                TileKernel.Of(kind).MultiplyStored(weight, begin, end, rows, y, Stride, next, nextRow);
            }

            Assert.That(Bits(actual), Is.EqualTo(Bits(expected)), what);
        }

        // One token by itself goes another way.
        var alone = new float[Stride];
        alone.AsSpan().Fill(-1);
        fixed (float* y = alone)
        {
            TileKernel.Of(kind).MultiplyStored(weight, begin, end, rows.AsSpan(0, 1), y, Stride, default, 0);
        }

        Assert.That(Bits(alone), Is.EqualTo(Bits(expected[..Stride])), $"{what}, one token");
    }

    /// <summary>So that zeros of either sign differ; one number that is not a number is as good as another.</summary>
    private static int[] Bits(float[] values) => [.. values.Select(v => BitConverter.SingleToInt32Bits(float.IsNaN(v) ? float.NaN : v))];
}
