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
internal sealed unsafe class BFloat16ProductsTests
{
    /// <summary>Those of this machine; without, the test that asks is ignored.</summary>
    internal static BFloat16Products Products
    {
        get
        {
            if (TileKernel.Best().BFloat16Products is { } products)
            {
                return products;
            }

            Assert.Ignore("Needs AVX512_BF16, and executable memory.");
            throw new InvalidOperationException();
        }
    }

    [Test]
    public void Products_are_the_bits_of_their_definition(
        [Values(1, 31, 32, 33, 64, 100, 576, 1567, 3100)] int columns, [Values(1, 2, 5, 6, 7, 13)] int tokens, [Values(1, 3, 8, 45)] int rows) =>
        AreTheBitsOfTheirDefinition(columns, tokens, rows);

    /// <summary>Activations that do not stay in the second-level cache meet a block of rows a tile at a time.</summary>
    [TestCase(3100, 130, 45)]
    [TestCase(3100, 131, 3)]
    [TestCase(3107, 130, 70)]
    [TestCase(7200, 60, 33)]
    [TestCase(7200, 60, 131)]
    public void Products_of_many_tokens_are_the_bits_of_their_definition(int columns, int tokens, int rows)
    {
        Assert.That((long)sizeof(ushort) * columns * tokens, Is.GreaterThan(BFloat16Products.MostStreamedBytes));
        AreTheBitsOfTheirDefinition(columns, tokens, rows);
    }

    [Test]
    public void A_part_of_the_rows_is_that_part_of_the_product([Values(1, 9)] int tokens)
    {
        BFloat16Products products = Products;
        const int Rows = 70;
        using var weight = new RandomMatrix(WeightFormat.BFloat16, Rows, 200, 1);
        float[] x = Random(tokens * 200, 2);
        float[] whole = Multiply(products, weight.Matrix, x, tokens, 0, Rows);
        float[] parts = Multiply(products, weight.Matrix, x, tokens, 0, 11);
        Assert.That(parts.Where((_, i) => i % Rows >= 11), Is.All.Zero);
        float[] rest = Multiply(products, weight.Matrix, x, tokens, 11, Rows);
        Assert.That(parts.Zip(rest, (a, b) => a + b), Is.EqualTo(whole));
    }

    [Test]
    public void Extreme_numbers_reach_their_own_sums_only([Values(1, 7)] int tokens)
    {
        BFloat16Products products = Products;
        const int Rows = 9;
        const int Columns = 70;
        using var weight = new RandomMatrix(WeightFormat.BFloat16, Rows, Columns, 1);
        Span<ushort> weights = MemoryMarshal.Cast<byte, ushort>(weight.Data);
        weights[(2 * Columns) + 69] = BFloat16.FromSingle(float.NaN);
        weights[(3 * Columns) + 5] = BFloat16.FromSingle(float.PositiveInfinity);
        weights.Slice(4 * Columns, Columns).Fill(0x0001);
        weights.Slice(5 * Columns, Columns).Fill(BFloat16.FromSingle(float.MaxValue / 2));
        float[] x = Random(tokens * Columns, 3);
        Array.Fill(x, 1, 0, Columns);
        x[7] = -1;
        float[] actual = Multiply(products, weight.Matrix, x, tokens, 0, Rows);
        Assert.That(actual[2], Is.NaN);
        Assert.That(actual[3], Is.EqualTo(float.PositiveInfinity));
        Assert.That(actual[4], Is.Zero, "subnormal weights count as zero");
        Assert.That(actual[5], Is.EqualTo(float.PositiveInfinity));
        foreach (int r in new[] { 0, 1, 6, 7, 8 })
        {
            Assert.That(actual[r], Is.EqualTo(Definition(Row(weight, r), x.AsSpan(0, Columns))));
        }
    }

    [Test]
    public void Sums_over_rows_are_the_bits_of_their_definition(
        [Values(1, 2, 31, 63, 64)] int rows, [Values(1, 32, 64, 70, 512)] int columns, [Values(1, 2, 6, 7, 13)] int tokens)
    {
        BFloat16Products products = Products;
        using var weight = new RandomMatrix(WeightFormat.BFloat16, rows, columns, columns + rows);
        float[] x = Random(tokens * rows, 5);
        int width = (columns + BFloat16PairsCode.Columns - 1) / BFloat16PairsCode.Columns * BFloat16PairsCode.Columns;
        int stride = width + 3;
        float[] start = Random(tokens * stride, 6);
        float[] actual = [.. start];
        float[] fromLanes = [.. start];
        var factors = new ushort[tokens * BFloat16PairsCode.Rows];
        var lanes = new ushort[BFloat16PairsCode.Rows * BFloat16ScoresCode.Lanes];
        for (int i = 0; i < x.Length; i++)
        {
            (int token, int row) = (i / rows, i % rows);
            ushort factor = BFloat16.FromSingle(x[i]);
            factors[(token * BFloat16PairsCode.Rows) + row] = factor;
            lanes[(((row / 2 * BFloat16ScoresCode.Lanes) + token) * 2) + (row % 2)] = factor;
        }

        using var pairs = new BFloat16Pairs();

        // What an earlier, larger use left behind must not be seen.
        using var before = new RandomMatrix(WeightFormat.BFloat16, BFloat16PairsCode.Rows, 600, 9);
        pairs.Set(before.Matrix.Data, before.Matrix.RowBytes, BFloat16PairsCode.Rows, 600, null);
        pairs.Set(weight.Matrix.Data, weight.Matrix.RowBytes, rows, columns, weight.Matrix.Data);
        Assert.That(pairs.Columns, Is.EqualTo(width));
        fixed (ushort* f = factors)
        fixed (ushort* g = lanes)
        fixed (float* y = actual)
        fixed (float* z = fromLanes)
        {
            products.Accumulate(pairs, f, tokens, y, stride);
            products.AccumulateLanes(pairs, g, tokens, z, stride, weight.Matrix.Data, 1 << 20);
        }

        Assert.That(fromLanes, Is.EqualTo(actual));

        for (int t = 0; t < tokens; t++)
        {
            for (int c = 0; c < stride; c++)
            {
                float sum = start[(t * stride) + c];
                for (int r = 0; c < columns && r < rows; r += 2)
                {
                    sum = r + 1 < rows ? MathF.FusedMultiplyAdd(Rounded(x[(t * rows) + r + 1]), Element(weight, r + 1, c), sum) : sum;
                    sum = MathF.FusedMultiplyAdd(Rounded(x[(t * rows) + r]), Element(weight, r, c), sum);
                }

                Assert.That(actual[(t * stride) + c], Is.EqualTo(sum), $"token {t}, column {c}");
            }
        }
    }

    [Test]
    public void Many_floats_round_as_one_does()
    {
        float[] special = [0, -0f, 1, float.NaN, -float.NaN, BitConverter.UInt32BitsToSingle(0x7F800001), BitConverter.UInt32BitsToSingle(0xFFFFFFFF), float.PositiveInfinity, float.NegativeInfinity, float.MaxValue, float.MinValue, float.Epsilon, 1e-40f, 1.00390625f, 1.01171875f];
        var random = new Random(1);
        float[] values = [.. special, .. Enumerable.Range(0, 1001).Select(_ => BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue)))];
        var rounded = new ushort[values.Length];
        fixed (float* source = values)
        fixed (ushort* target = rounded)
        {
            BFloat16Rounding.Round(source, values.Length, target);
        }

        Assert.That(rounded, Is.EqualTo(values.Select(BFloat16.FromSingle)));
    }

    [Test]
    public void Widened_vectors_are_their_odd_columns_and_their_even_ones([Values(0, 1, 5)] int vectors)
    {
        const int Columns = BFloat16Widening.Columns;
        ushort[] numbers = [.. Enumerable.Range(0, vectors * Columns).Select(i => (ushort)(i * 40503))];
        float[] actual = [.. Enumerable.Repeat(7f, (vectors * Columns) + 1)];
        fixed (ushort* source = numbers)
        fixed (float* target = actual)
        {
            BFloat16Widening.Widen(source, vectors, target);
        }

        IEnumerable<float> expected = numbers.Chunk(Columns)
            .SelectMany(vector => vector.Where((_, i) => i % 2 == 1).Concat(vector.Where((_, i) => i % 2 == 0)))
            .Select(BFloat16.ToSingle);
        Assert.That(actual.Select(BitConverter.SingleToUInt32Bits), Is.EqualTo(expected.Append(7).Select(BitConverter.SingleToUInt32Bits)));
    }

    [Test]
    public void Columns_written_in_parts_are_the_whole_rows([Values(1, 9)] int tokens)
    {
        var cut = new TokenTiles(6);
        const int Columns = 72;
        float[] x = Random(tokens * Columns, 4);
        using var whole = new BFloat16Tiles(cut);
        using var parts = new BFloat16Tiles(cut);
        whole.Resize(tokens, Columns);
        parts.Resize(tokens, Columns);
        fixed (float* source = x)
        {
            for (int tile = 0; tile < cut.Count(tokens); tile++)
            {
                whole.Write(tile, source, Columns);
            }

            for (int column = 0; column < Columns; column += 8)
            {
                parts.WriteColumns(source + column, Columns, column, 8);
            }
        }

        int bytes = tokens * 3 * BFloat16Tiles.VectorBytes;
        Assert.That(new Span<byte>(parts.Tile(0), bytes).ToArray(), Is.EqualTo(new Span<byte>(whole.Tile(0), bytes).ToArray()));
    }

    /// <summary>Row r of token t at [t * rows + r].</summary>
    internal static float[] Multiply(BFloat16Products products, in WeightMatrix weight, float[] x, int tokens, int begin, int end)
    {
        using var rounded = new BFloat16Tiles(products.Tiles);
        rounded.Resize(tokens, weight.Columns);
        var y = new float[tokens * weight.Rows];
        fixed (float* source = x)
        fixed (float* target = y)
        {
            for (int tile = 0; tile < products.Tiles.Count(tokens); tile++)
            {
                rounded.Write(tile, source, weight.Columns);
            }

            products.Multiply(weight, begin, end, rounded, target, weight.Rows);
        }

        return y;
    }

    internal static float Definition(ReadOnlySpan<ushort> weights, ReadOnlySpan<float> x)
    {
        Span<float> lanes = stackalloc float[16];
        lanes.Clear();
        for (int c = 0; c < weights.Length; c += 2)
        {
            ref float lane = ref lanes[c / 2 % 16];
            lane = c + 1 < weights.Length ? MathF.FusedMultiplyAdd(BFloat16.ToSingle(weights[c + 1]), Rounded(x[c + 1]), lane) : lane;
            lane = MathF.FusedMultiplyAdd(BFloat16.ToSingle(weights[c]), Rounded(x[c]), lane);
        }

        for (int half = 8; half > 0; half /= 2)
        {
            for (int i = 0; i < half; i++)
            {
                lanes[i] += lanes[i + half];
            }
        }

        return lanes[0];
    }

    internal static float Rounded(float value) => BFloat16.ToSingle(BFloat16.FromSingle(value));

    private static float Element(RandomMatrix weight, int row, int column) => BFloat16.ToSingle(Row(weight, row)[column]);

    private static ReadOnlySpan<ushort> Row(RandomMatrix weight, int row) => MemoryMarshal.Cast<byte, ushort>(weight.Data).Slice(row * weight.Matrix.Columns, weight.Matrix.Columns);

    private static void AreTheBitsOfTheirDefinition(int columns, int tokens, int rows)
    {
        BFloat16Products products = Products;
        using var weight = new RandomMatrix(WeightFormat.BFloat16, rows, columns, columns + rows);
        float[] x = Random(tokens * columns, tokens);
        float[] actual = Multiply(products, weight.Matrix, x, tokens, 0, rows);
        for (int t = 0; t < tokens; t++)
        {
            for (int r = 0; r < rows; r++)
            {
                float expected = Definition(Row(weight, r), x.AsSpan(t * columns, columns));
                Assert.That(actual[(t * rows) + r], Is.EqualTo(expected), $"token {t}, row {r}");
            }
        }
    }

    private static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }
}
