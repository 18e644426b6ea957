// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class FloatGemvTests
{
    private static IEnumerable<InstructionSet> Sets => CpuFeatures.Supported;

    private static IEnumerable<WeightFormat> Formats => Enum.GetValues<WeightFormat>();

    [Test]
    public void Every_path_agrees_with_the_reference_at_every_width(
        [ValueSource(nameof(Sets))] InstructionSet set, [ValueSource(nameof(Formats))] WeightFormat format)
    {
        var random = new Random(1);
        foreach (int columns in Enumerable.Range(1, 70).Concat([127, 128, 129, 200, 300, 576, 1000]))
        {
            using var weight = new RandomMatrix(format, 3, columns, columns, block: columns % 2 == 0 ? 128 : 16);
            using var buffer = new GuardedBuffer(4 * columns);
            var x = new Span<float>(buffer.Pointer, columns);
            foreach (ref float value in x)
            {
                value = random.NextSingle() - 0.5f;
            }

            var expected = new float[3];
            ReferenceLinear.Multiply(weight.Matrix, x, 1, expected);
            var actual = new float[3];
            fixed (float* y = actual)
            {
                FloatGemv.Multiply(set, weight.Matrix, 0, 3, (float*)buffer.Pointer, columns, 1, y, 3);
            }

            double magnitude = 0;
            for (int c = 0; c < columns; c++)
            {
                magnitude += Math.Abs(x[c]) * Enumerable.Range(0, 3).Max(r => Math.Abs(ReferenceLinear.Element(weight.Matrix, r, c)));
            }

            Assert.That(actual, Is.EqualTo(expected).Within(1e-6 * magnitude), $"{columns} columns");
        }
    }

    /// <summary>
    /// One, two and more tiles of every number of tokens, more tokens than are multiplied at a time, rows of less than a vector and of more columns than a part has. Results
    /// lie apart, and nothing behind activations is read.
    /// </summary>
    [Test]
    public void Tokens_rows_and_splits_never_change_a_bit(
        [ValueSource(nameof(Sets))] InstructionSet set, [ValueSource(nameof(Formats))] WeightFormat format, [Values(48, 64)] int block, [Values(2, 3, 4, 11, 49, 50)] int tokens)
    {
        const int Rows = 70;
        const int YStride = Rows + 3;
        foreach (int columns in new[] { 5, 33, 200, 2100 })
        {
            int xStride = columns + 2;
            using var weight = new RandomMatrix(format, Rows, columns, 7, block);
            using var x = new GuardedBuffer(sizeof(float) * (((tokens - 1) * xStride) + columns));
            var random = new Random(8);
            var source = (float*)x.Pointer;
            for (int i = 0; i < x.Length / sizeof(float); i++)
            {
                source[i] = random.NextSingle() - 0.5f;
            }

            var together = new float[tokens * YStride];
            var alone = new float[Rows];
            fixed (float* y = together)
            fixed (float* z = alone)
            {
                FloatGemv.Multiply(set, weight.Matrix, 0, Rows, source, xStride, tokens, y, YStride);
                for (int t = 0; t < tokens; t++)
                {
                    FloatGemv.Multiply(set, weight.Matrix, 0, 50, source + (t * xStride), columns, 1, z, Rows);
                    FloatGemv.Multiply(set, weight.Matrix, 50, Rows, source + (t * xStride), columns, 1, z, Rows);
                    Assert.That(together.AsSpan(t * YStride, Rows).ToArray(), Is.EqualTo(alone), $"{columns} columns, token {t}");
                    Assert.That(together.AsSpan((t * YStride) + Rows, YStride - Rows).ToArray(), Is.All.Zero, "what lies between results");
                }
            }
        }
    }

    /// <summary>Which of both ways is taken depends on the processor.</summary>
    [Test]
    public void Rows_of_BF16_in_streams_have_the_bits_of_rows_side_by_side([ValueSource(nameof(Sets))] InstructionSet set, [Values(1, 33, 64, 200, 2100)] int columns, [Values(3, 4, 23, 70)] int rows)
    {
        using var weight = new RandomMatrix(WeightFormat.BFloat16, rows + 1, columns, 9);
        using var x = new GuardedBuffer(sizeof(float) * columns);
        var random = new Random(10);
        foreach (ref float value in new Span<float>(x.Pointer, columns))
        {
            value = random.NextSingle() - 0.5f;
        }

        switch (set)
        {
            case InstructionSet.Avx512:
                CompareRows<Lanes512>(weight.Matrix, rows, (float*)x.Pointer);
                break;
            case InstructionSet.Avx2:
                CompareRows<Lanes256>(weight.Matrix, rows, (float*)x.Pointer);
                break;
            case InstructionSet.Vector128:
                CompareRows<Lanes128>(weight.Matrix, rows, (float*)x.Pointer);
                break;
            default:
                CompareRows<LanesScalar>(weight.Matrix, rows, (float*)x.Pointer);
                break;
        }
    }

    /// <summary>The first row is left out of all.</summary>
    private static void CompareRows<TLanes>(in WeightMatrix weight, int rows, float* x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        var streams = new float[rows + 1];
        var sideBySide = new float[rows + 1];
        var alone = new float[rows + 1];
        fixed (float* s = streams)
        fixed (float* b = sideBySide)
        fixed (float* a = alone)
        {
            int count = FloatGemv.BFloat16Streams<TLanes>(weight, 1, rows + 1, x, s);
            Assert.That(count, Is.EqualTo(rows / 4 * 4));
            FloatGemv.BFloat16SideBySide<TLanes>(weight, 1, rows + 1, x, b);
            for (int r = 1; r <= rows; r++)
            {
                FloatGemv.BFloat16SideBySide<TLanes>(weight, r, r + 1, x, a);
            }

            Assert.That(sideBySide, Is.EqualTo(alone), "rows together and one by one");
            Assert.That(streams[..(count + 1)], Is.EqualTo(alone[..(count + 1)]), "streams");
            Assert.That(streams[(count + 1)..], Is.All.Zero, "rows that are left");
        }
    }

    [Test]
    public void Every_fp8_code_is_decoded_exactly([ValueSource(nameof(Sets))] InstructionSet set)
    {
        using var weight = new RandomMatrix(WeightFormat.Float8Block, 256, 64, 1, block: 64);
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(weight.Scales).Fill(1);
        for (int code = 0; code < 256; code++)
        {
            weight.Data.Slice(code * 64, 64).Clear();
            weight.Data[(code * 64) + (code % 64)] = (byte)code;
        }

        var result = new float[256];
        float[] ones = [.. Enumerable.Repeat(1f, 64)];
        fixed (float* x = ones)
        fixed (float* y = result)
        {
            FloatGemv.Multiply(set, weight.Matrix, 0, 256, x, 64, 1, y, 256);
        }

        Assert.That(result, Is.EqualTo(Float8E4M3.Values.ToArray()));
        Assert.That(result.Count(float.IsNaN), Is.EqualTo(2));
        Assert.That(result[1], Is.EqualTo(MathF.Pow(2, -9)));
        Assert.That(result[0x7E], Is.EqualTo(448));
    }

    /// <summary>A scale of 2^40 overflows the factors of the fast way; the result itself is an ordinary number.</summary>
    [Test]
    public void Large_fp8_scales_give_what_they_give_to_several_tokens([ValueSource(nameof(Sets))] InstructionSet set, [Values(40, -60)] int exponent)
    {
        const int Rows = 16;
        const int Columns = 128;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, Columns, 5);
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(weight.Scales).Fill(MathF.ScaleB(1, exponent));
        var random = new Random(6);
        float[] x = [.. Enumerable.Range(0, 2 * Columns).Select(_ => random.NextSingle() - 0.5f)];
        float[] alone = Multiply(set, weight.Matrix, x, 1);
        var expected = new float[Rows];
        ReferenceLinear.Multiply(weight.Matrix, x.AsSpan(0, Columns), 1, expected);
        Assert.That(alone, Is.EqualTo(Multiply(set, weight.Matrix, x, 2)[..Rows]));
        Assert.That(alone, Is.EqualTo(expected).Within(1e-6 * 448 * Columns * Math.ScaleB(1, exponent)));
    }

    /// <summary>Below that, some ways lose bits to subnormal numbers and others do not.</summary>
    [Test]
    public void Fp8_sums_down_to_1e_27_are_the_same_for_several_tokens([ValueSource(nameof(Sets))] InstructionSet set)
    {
        const int Columns = 512;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, 64, Columns, 3);
        var random = new Random(5);
        float[] x = [.. Enumerable.Range(0, 3 * Columns).Select(_ => random.NextSingle() - 0.5f)];
        float largest = Multiply(set, weight.Matrix, x, 1).Max(Math.Abs);
        x = [.. x.Select(v => v / largest * 1e-27f)];
        Assert.That(Multiply(set, weight.Matrix, x, 1), Is.EqualTo(Multiply(set, weight.Matrix, x, 3)[..64]).And.Some.Not.Zero);
    }

    [Test]
    public void A_code_of_NaN_reaches_its_own_row_only([ValueSource(nameof(Sets))] InstructionSet set, [Values(0x7F, 0xFF)] int code, [Values(0, 5, 15)] int row)
    {
        const int Rows = 16;
        const int Columns = 256;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, Columns, 7);
        float[] x = [.. Enumerable.Repeat(0.25f, Columns)];
        float[] before = Multiply(set, weight.Matrix, x, 1);
        weight.Data[(row * Columns) + 77] = (byte)code;
        float[] after = Multiply(set, weight.Matrix, x, 1);
        before[row] = float.NaN;
        Assert.That(after, Is.EqualTo(before));
    }

    [Test]
    public void Decoded_rows_equal_the_stored_values([ValueSource(nameof(Formats))] WeightFormat format)
    {
        foreach (int columns in new[] { 1, 15, 16, 33, 100 })
        {
            using var weight = new RandomMatrix(format, 4, columns, 11, block: 3);
            var row = new float[columns];
            WeightDecoder.DecodeRow(weight.Matrix, 3, row);
            for (int c = 0; c < columns; c++)
            {
                Assert.That(row[c], Is.EqualTo((float)ReferenceLinear.Element(weight.Matrix, 3, c)));
            }
        }
    }

    private static float[] Multiply(InstructionSet set, WeightMatrix weight, float[] x, int tokens)
    {
        var result = new float[tokens * weight.Rows];
        fixed (float* source = x)
        fixed (float* y = result)
        {
            FloatGemv.Multiply(set, weight, 0, weight.Rows, source, weight.Columns, tokens, y, weight.Rows);
        }

        return result;
    }
}
