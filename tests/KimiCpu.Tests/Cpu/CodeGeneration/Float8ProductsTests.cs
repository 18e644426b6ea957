// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.CodeGeneration;

[TestFixture]
[Category("Kernels")]
internal sealed unsafe class Float8ProductsTests
{
    private const int Step = Float8Codes.StepColumns;

    private static Float8Products Products => Of(TileKernel.Best());

    [Test]
    public void Products_are_the_bits_of_their_definition(
        [Values(1, 63, 64, 65, 128, 200, 576, 1664)] int columns, [Values(1, 2, 7, 97)] int tokens, [Values(1, 4, 45)] int rows, [Values(16, 64, 128)] int block)
    {
        Float8Products products = Products;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, rows, columns, columns + rows, block);
        float[] x = Random(tokens * columns, tokens);
        float[] actual = Multiply(products, weight.Matrix, x, tokens, 0, rows);
        for (int t = 0; t < tokens; t++)
        {
            for (int r = 0; r < rows; r++)
            {
                Assert.That(actual[(t * rows) + r], Is.EqualTo(Definition(weight, r, x.AsSpan(t * columns, columns))), $"token {t}, row {r}");
            }
        }
    }

    [Test]
    public void Products_are_near_those_of_single_precision([Values(1, 5)] int tokens)
    {
        const int Rows = 20;
        const int Columns = 1000;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, Columns, 3);
        float[] x = Random(tokens * Columns, 4);
        var expected = new float[tokens * Rows];
        fixed (float* source = x)
        fixed (float* y = expected)
        {
            FloatGemv.Multiply(weight.Matrix, 0, Rows, source, Columns, tokens, y, Rows);
        }

        // Each activation is off by 2^-9 of itself at most, as much to one side as to the other.
        double largest = expected.Max(Math.Abs);
        float[] actual = Multiply(Products, weight.Matrix, x, tokens, 0, Rows);
        Assert.That(actual, Is.EqualTo(expected).Within(0.01 * largest));
        Assert.That(actual, Is.Not.EqualTo(expected));
    }

    [Test]
    public void A_part_of_the_rows_is_that_part_of_the_product([Values(1, 9)] int tokens, [Values(1, 11, 33)] int cut)
    {
        Float8Products products = Products;
        const int Rows = 70;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, 200, 1, block: 32);
        float[] x = Random(tokens * 200, 2);
        float[] whole = Multiply(products, weight.Matrix, x, tokens, 0, Rows);
        float[] parts = Multiply(products, weight.Matrix, x, tokens, 0, cut);
        Assert.That(parts.Where((_, i) => i % Rows >= cut), Is.All.Zero);
        float[] rest = Multiply(products, weight.Matrix, x, tokens, cut, Rows);
        Assert.That(parts.Zip(rest, (a, b) => a + b), Is.EqualTo(whole));
    }

    [Test]
    public void Every_code_is_its_value([Values(1, 2)] int tokens)
    {
        const int Codes = 256;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Codes, Step, 1, block: Step);
        MemoryMarshal.Cast<byte, float>(weight.Scales).Fill(1);
        for (int code = 0; code < Codes; code++)
        {
            weight.Data.Slice(code * Step, Step).Clear();
            weight.Data[(code * Step) + (code % Step)] = (byte)code;
        }

        float[] ones = [.. Enumerable.Repeat(1f, tokens * Step)];
        float[] actual = Multiply(Products, weight.Matrix, ones, tokens, 0, Codes);
        for (int t = 0; t < tokens; t++)
        {
            Assert.That(actual.AsSpan(t * Codes, Codes).ToArray(), Is.EqualTo(Float8E4M3.Values.ToArray()));
        }
    }

    [Test]
    public void Extreme_scales_and_NaN_reach_their_own_sums_only([Values(1, 7)] int tokens, [Values(1e30f, 1e-30f, float.PositiveInfinity, 0f)] float scale, [Values(16, 64)] int block)
    {
        const int Rows = 140;
        const int Columns = 256;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, Columns, 1, block);
        MemoryMarshal.Cast<byte, float>(weight.Scales).Slice(Columns / block, Columns / block).Fill(scale);
        weight.Data[(5 * Columns) + 77] = 0xFF;
        float[] x = Random(tokens * Columns, 3);
        x[^9] = tokens > 1 ? float.NaN : x[^9];
        float[] actual = Multiply(Products, weight.Matrix, x, tokens, 0, Rows);
        for (int t = 0; t < tokens; t++)
        {
            for (int r = 0; r < Rows; r++)
            {
                float sum = actual[(t * Rows) + r];
                Assert.That(sum, Is.EqualTo(Definition(weight, r, x.AsSpan(t * Columns, Columns))), $"token {t}, row {r}");
                Assert.That(float.IsFinite(sum), Is.EqualTo((tokens == 1 || t < tokens - 1) && r != 5 && (r / block != 1 || float.IsFinite(scale))), $"token {t}, row {r}");
            }
        }
    }

    /// <summary>Rows of tokens that lie further apart than their columns, results likewise, scales at odd addresses.</summary>
    [Test]
    public void Strides_and_odd_addresses_are_kept([Values(1, 5)] int tokens)
    {
        const int Rows = 33;
        const int Columns = 150;
        const int XStride = Columns + 7;
        const int YStride = Rows + 5;
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, Columns, 5, block: 64);
        using var scales = new GuardedBuffer(weight.Scales.Length + 1);
        weight.Scales.CopyTo(scales.Span);
        var matrix = new WeightMatrix(WeightFormat.Float8Block, Rows, Columns, weight.Matrix.Data, scales.Pointer, 64, 64);
        float[] x = Random(tokens * XStride, 6);
        var actual = new float[tokens * YStride];
        fixed (float* source = x)
        fixed (float* y = actual)
        {
            Products.Multiply(matrix, 3, Rows, source, XStride, tokens, y + 1, YStride);
        }

        for (int t = 0; t < tokens; t++)
        {
            for (int i = 0; i < YStride; i++)
            {
                int r = i - 1;
                float expected = r is >= 3 and < Rows ? Definition(weight, r, x.AsSpan(t * XStride, Columns)) : 0;
                Assert.That(actual[(t * YStride) + i], Is.EqualTo(expected), $"token {t}, row {r}");
            }
        }
    }

    /// <summary>Rows that begin anywhere in a line; the byte behind the last one must not be read.</summary>
    [Test]
    public void Rows_at_any_address([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(64, 96, 100, 192, 1024)] int columns, [Values] bool normal)
    {
        const int Rows = 9;
        Float8Products products = Of(GeneratedTileKernel.TryCreate(target));
        using var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, columns, 14);
        if (normal)
        {
            Float8BitsTests.MakeNormal(weight);
        }

        float[] x = Random(columns, 15);
        float[] expected = [.. Enumerable.Range(0, Rows).Select(r => Definition(weight, r, x))];
        for (int behind = 0; behind <= 64; behind++)
        {
            using var data = new GuardedBuffer(weight.Data.Length + behind);
            weight.Data.CopyTo(data.Span);
            var matrix = new WeightMatrix(WeightFormat.Float8Block, Rows, columns, data.Pointer, weight.Matrix.Scales, 128, 128);
            Assert.That(Multiply(products, matrix, x, 1, 0, Rows), Is.EqualTo(expected), $"{behind} bytes before the guard page");
        }
    }

    /// <summary>Row r of token t at [t * rows + r].</summary>
    internal static float[] Multiply(Float8Products products, in WeightMatrix weight, float[] x, int tokens, int begin, int end)
    {
        var y = new float[tokens * weight.Rows];
        fixed (float* source = x)
        fixed (float* target = y)
        {
            products.Multiply(weight, begin, end, source, weight.Columns, tokens, target, weight.Rows);
        }

        return y;
    }

    /// <summary>A BF16 product of what is left when activations have taken the scales, columns in the order of <see cref="Float8Codes"/>.</summary>
    internal static float Definition(RandomMatrix weight, int row, ReadOnlySpan<float> x)
    {
        WeightMatrix matrix = weight.Matrix;
        int padded = (x.Length + Step - 1) / Step * Step;
        int blocks = (x.Length + matrix.BlockColumns - 1) / matrix.BlockColumns;
        ReadOnlySpan<float> scales = MemoryMarshal.Cast<byte, float>(weight.Scales).Slice(row / matrix.BlockRows * blocks, blocks);
        var weights = new ushort[padded];
        var scaled = new float[padded];
        for (int c = 0; c < x.Length; c++)
        {
            int at = (c / Step * Step) + (c / 8 % 2 * 32) + (c % Step / 16 * 8) + (c % 8);
            weights[at] = BFloat16.FromSingle(Float8E4M3.Values[weight.Data[(row * x.Length) + c]]);
            scaled[at] = x[c] * scales[c / matrix.BlockColumns];
        }

        return BFloat16ProductsTests.Definition(weights, scaled);
    }

    private static Float8Products Of(TileKernel? kernel)
    {
        if (kernel?.Float8Products is { } products)
        {
            return products;
        }

        Assert.Ignore("Needs AVX512_VBMI and AVX512_BF16, and executable memory.");
        throw new InvalidOperationException();
    }

    private static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }
}
