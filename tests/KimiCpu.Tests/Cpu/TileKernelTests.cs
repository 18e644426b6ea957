// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class TileKernelTests
{
    private static readonly int[] s_columns = [1, 31, 32, 33, 64, 100, 511, 512, 513, 1000, 1024, 1536, 2048, 2080];

    private static IEnumerable<TileKernelKind> Kinds => TileKernel.Supported;

    private static IEnumerable<InstructionSet> Sets => CpuFeatures.Supported;

    /// <summary>The scalar product of a stored row with one token is the definition; tiles only reorder memory.</summary>
    [Test]
    public void Every_kernel_gives_the_bits_of_the_scalar_product([ValueSource(nameof(Kinds))] TileKernelKind kind)
    {
        TileKernel kernel = TileKernel.Of(kind);
        foreach (int columns in s_columns)
        {
            const int Rows = 39;
            using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, columns);
            using var rows = Rounded(kernel.MaxTokens, columns, columns);
            for (int tokens = 1; tokens <= kernel.MaxTokens; tokens++)
            {
                float[] actual = Multiply(kernel, weight.Matrix, rows, tokens);
                Assert.That(actual, Is.EqualTo(Scalar(weight.Matrix, rows, tokens)), $"{columns} columns, {tokens} tokens");
            }
        }
    }

    [Test]
    public void Every_unpacker_gives_the_same_bytes([ValueSource(nameof(Sets))] InstructionSet set)
    {
        foreach (int columns in s_columns)
        {
            foreach (int rows in new[] { 5, 32 })
            {
                using var weight = new RandomMatrix(WeightFormat.Int4Group32, rows, columns, columns);
                byte[] expected = Unpack(InstructionSet.Scalar, weight.Matrix, 0);
                Assert.That(Unpack(set, weight.Matrix, 0), Is.EqualTo(expected), $"{rows} rows, {columns} columns");
            }
        }
    }

    /// <summary>Nibbles 0 (-8) and 15 (7) against the largest activations of either sign: the int16 sums' extremes.</summary>
    [Test]
    public void Extreme_weights_and_activations_do_not_saturate(
        [ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(0x00, 0xFF, 0x0F, 0xF0)] int packed, [Values(1, -1)] int sign)
    {
        const int Columns = 1024;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, 32, Columns, 3);
        weight.Data.Fill((byte)packed);
        MemoryMarshal.Cast<byte, ushort>(weight.Scales).Fill(0x3F80);
        using QuantizedRows rows = Rounded([.. Enumerable.Repeat(sign * 127f, Columns)], Columns);
        float expected = sign * 127f * ((packed & 15) - 8 + (packed >> 4) - 8) * (Columns / 2);
        Assert.That(Multiply(TileKernel.Of(kind), weight.Matrix, rows, 1), Is.All.EqualTo(expected));
    }

    [Test]
    public void Extreme_scales_keep_the_bits([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(0x0001, 0x8001, 0x007F, 0x7F7F, 0x7F80, 0x7FC0)] int scale)
    {
        const int Columns = 600;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, 32, Columns, 4);
        Span<ushort> scales = MemoryMarshal.Cast<byte, ushort>(weight.Scales);
        for (int i = 0; i < scales.Length; i += 3)
        {
            scales[i] = (ushort)scale;
        }

        using QuantizedRows rows = Rounded(2, Columns, 5);
        float[] actual = Multiply(TileKernel.Of(kind), weight.Matrix, rows, 2);
        Assert.That(actual, Is.EqualTo(Scalar(weight.Matrix, rows, 2)));
    }

    [Test]
    public void Weights_of_eight_bits_give_the_bits_of_the_scalar_kernel([ValueSource(nameof(Kinds))] TileKernelKind kind)
    {
        const int Columns = 1000;
        TileKernel kernel = TileKernel.Of(kind);
        using var tile = new AlignedBuffer<byte>(WeightTile.Bytes(Columns));
        var random = new Random(6);
        random.NextBytes(tile.Span(0, (int)WeightTile.Bytes(Columns)));
        for (int record = 0; record < 16 * LaneSum.BlocksOf(Columns); record++)
        {
            // Bytes 0 and 255 are the extremes of weights -128 and 127.
            tile.Span(record * WeightTile.RecordBytes, 64).Fill((byte)(record % 2 == 0 ? 0 : 255));
            MemoryMarshal.Cast<byte, ushort>(tile.Span((record * WeightTile.RecordBytes) + WeightTile.ScalesAt, 64)).Fill(0x3C12);
        }

        using QuantizedRows rows = Rounded(kernel.MaxTokens, Columns, 7);
        for (int tokens = 1; tokens <= kernel.MaxTokens; tokens++)
        {
            TileKernel scalar = TileKernel.Of(TileKernelKind.Scalar);
            float[] expected = [.. Enumerable.Range(0, tokens).SelectMany(t => Multiply(scalar, tile.Pointer, true, Columns, rows, 1, t))];
            Assert.That(Multiply(kernel, tile.Pointer, true, Columns, rows, tokens), Is.EqualTo(expected), $"{tokens} tokens");
        }
    }

    [Test]
    public void Nothing_need_be_asked_for_ahead([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values] bool bits8)
    {
        const int Columns = 544;
        TileKernel kernel = TileKernel.Of(kind);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, WeightTile.Rows, Columns, 8);
        using QuantizedRows rows = Rounded(kernel.MaxTokens, Columns, 9);
        fixed (byte* tile = Unpack(CpuFeatures.Best, weight.Matrix, 0))
        {
            for (int tokens = 1; tokens <= kernel.MaxTokens; tokens++)
            {
                float[] expected = Multiply(kernel, tile, bits8, Columns, rows, tokens);
                Assert.That(Multiply(kernel, tile, bits8, Columns, rows, tokens, aheadBytes: 1), Is.EqualTo(expected), $"{tokens} tokens, few lines");
                Assert.That(Multiply(kernel, tile, bits8, Columns, rows, tokens, aheadBytes: 0), Is.EqualTo(expected), $"{tokens} tokens, none");
            }
        }
    }

    /// <summary>Attention takes those; where they are slow, it multiplies in single precision.</summary>
    [Test]
    public void Products_of_BF16_are_called_fast_only_where_they_are([ValueSource(nameof(Kinds))] TileKernelKind kind)
    {
        TileKernel kernel = TileKernel.Of(kind);
        Assert.That(kernel.FastBFloat16Products, Is.SameAs(CpuFeatures.HasFastBFloat16 ? kernel.BFloat16Products : null));
    }

    [Test]
    public void Results_of_tokens_lie_as_far_apart_as_asked([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values] bool bits8, [Values(33, 100, 2048)] int yStride)
    {
        const int Columns = 544;
        TileKernel kernel = TileKernel.Of(kind);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, WeightTile.Rows, Columns, 8);
        using QuantizedRows rows = Rounded(kernel.MaxTokens, Columns, 9);
        fixed (byte* tile = Unpack(CpuFeatures.Best, weight.Matrix, 0))
        {
            for (int tokens = 1; tokens <= kernel.MaxTokens; tokens++)
            {
                float[] dense = Multiply(kernel, tile, bits8, Columns, rows, tokens);
                float[] apart = Multiply(kernel, tile, bits8, Columns, rows, tokens, yStride: yStride);
                for (int i = 0; i < apart.Length; i++)
                {
                    (int token, int row) = Math.DivRem(i, yStride);
                    float expected = row < WeightTile.Rows ? dense[(token * WeightTile.Rows) + row] : 0;
                    Assert.That(apart[i], Is.EqualTo(expected), $"{tokens} tokens, token {token}, row {row}");
                }
            }
        }
    }

    /// <summary>Weights at odd addresses, and nothing behind a tile is read.</summary>
    [Test]
    public void Any_address([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values] bool bits8, [Values(0, 1, 8, 33)] int behind)
    {
        const int Columns = 544;
        TileKernel kernel = TileKernel.Of(kind);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, WeightTile.Rows, Columns, 10);
        using QuantizedRows rows = Rounded(kernel.MaxTokens, Columns, 11);
        byte[] tile = Unpack(InstructionSet.Scalar, weight.Matrix, 0);
        using var guarded = new GuardedBuffer(tile.Length + behind);
        tile.CopyTo(guarded.Span);
        TileKernel scalar = TileKernel.Of(TileKernelKind.Scalar);
        for (int tokens = 1; tokens <= kernel.MaxTokens; tokens++)
        {
            float[] expected = [.. Enumerable.Range(0, tokens).SelectMany(t => Multiply(scalar, guarded.Pointer, bits8, Columns, rows, 1, t))];
            Assert.That(Multiply(kernel, guarded.Pointer, bits8, Columns, rows, tokens), Is.EqualTo(expected), $"{tokens} tokens");
        }
    }

    /// <summary>Every activation there is, and those whose parts of 4 bits are the largest (120 = 8 x 16 - 8), against bytes 0 and 255.</summary>
    [Test]
    public void Extreme_bytes_and_activations_do_not_saturate([ValueSource(nameof(Kinds))] TileKernelKind kind, [Values(0, 255)] int weight, [Values(127, 120, -120, -127, 0)] int value)
    {
        const int Columns = 544;
        TileKernel kernel = TileKernel.Of(kind);
        using var tile = new AlignedBuffer<byte>(WeightTile.Bytes(Columns));
        tile.Span(0, (int)WeightTile.Bytes(Columns)).Fill((byte)weight);
        for (int record = 0; record < 16 * LaneSum.BlocksOf(Columns); record++)
        {
            MemoryMarshal.Cast<byte, ushort>(tile.Span((record * WeightTile.RecordBytes) + WeightTile.ScalesAt, 64)).Fill(0x3F80);
        }

        // A 127 in each group keeps the others as they are; with 0 for the value the columns count from -127 to 127.
        float[] x = [.. Enumerable.Range(0, kernel.MaxTokens * Columns).Select(i => i % 32 == 0 ? 127f : value != 0 ? value : (i % 255) - 127f)];
        using QuantizedRows rows = Rounded(x, Columns);
        for (int tokens = 1; tokens <= kernel.MaxTokens; tokens++)
        {
            TileKernel scalar = TileKernel.Of(TileKernelKind.Scalar);
            float[] expected = [.. Enumerable.Range(0, tokens).SelectMany(t => Multiply(scalar, tile.Pointer, true, Columns, rows, 1, t))];
            Assert.That(Multiply(kernel, tile.Pointer, true, Columns, rows, tokens), Is.EqualTo(expected), $"{tokens} tokens");
        }
    }

    [Test]
    public void Tokens_are_cut_into_even_tiles([Values(1, 2, 5, 6, 7, 8, 13, 100)] int tokens, [ValueSource(nameof(Kinds))] TileKernelKind kind)
    {
        TileKernel kernel = TileKernel.Of(kind);
        var tiles = new List<int>();
        for (int left = tokens; left > 0; left -= tiles[^1])
        {
            Assert.That(kernel.Tiles.At(tokens, tiles.Count), Is.EqualTo((tokens - left, kernel.Tiles.Next(left))));
            tiles.Add(kernel.Tiles.Next(left));
        }

        Assert.That(kernel.Tiles.Count(tokens), Is.EqualTo(tiles.Count));

        Assert.That(tiles.Sum(), Is.EqualTo(tokens));
        Assert.That(tiles.Max(), Is.LessThanOrEqualTo(kernel.MaxTokens));
        Assert.That(tiles.Max() - tiles.Min(), Is.LessThanOrEqualTo(1));
    }

    internal static QuantizedRows Rounded(int tokens, int columns, int seed)
    {
        var random = new Random(seed);
        return Rounded([.. Enumerable.Range(0, tokens * columns).Select(_ => (float)((random.NextDouble() - 0.5) * Math.Exp(3 * random.NextDouble())))], columns);
    }

    internal static float[] Multiply(TileKernel kernel, byte* tile, bool bits8, int columns, QuantizedRows rows, int tokens, int firstToken = 0, long aheadBytes = 1 << 20, int yStride = WeightTile.Rows)
    {
        using var tiles = new ActivationTiles();
        tiles.Resize(tokens, columns);
        Span<QuantizedRow> ofTile = stackalloc QuantizedRow[tokens];
        for (int t = 0; t < tokens; t++)
        {
            ofTile[t] = rows.Row(firstToken + t);
        }

        tiles.Write(ofTile, 0, bits8 ? WeightTile.Int8Bias : Int4Group32.Bias);

        using var scratch = new AlignedBuffer<float>(kernel.ScratchFloats);
        var y = new float[((tokens - 1) * yStride) + WeightTile.Rows];
        fixed (float* target = y)
        {
            kernel.Multiply(tile, bits8, tiles.Tile(0), tokens, tiles.Blocks, scratch.Pointer, new TileAhead(aheadBytes == 0 ? null : tile, aheadBytes, LaneSum.Lanes * tiles.Blocks, 1), target, yStride);
        }

        return y;
    }

    private static QuantizedRows Rounded(float[] x, int columns)
    {
        var rows = new QuantizedRows();
        rows.Resize(x.Length / columns, columns);
        fixed (float* source = x)
        {
            for (int t = 0; t < rows.Rows; t++)
            {
                ActivationQuantizer.Quantize(source + (t * columns), columns, rows.Row(t));
            }
        }

        return rows;
    }

    /// <summary>(tokens, rows) from all tiles of a weight.</summary>
    private static float[] Multiply(TileKernel kernel, WeightMatrix weight, QuantizedRows rows, int tokens)
    {
        var result = new float[tokens * weight.Rows];
        for (int first = 0; first < weight.Rows; first += WeightTile.Rows)
        {
            byte[] tile = Unpack(CpuFeatures.Best, weight, first);
            fixed (byte* pinned = tile)
            {
                float[] y = Multiply(kernel, pinned, false, weight.Columns, rows, tokens);
                int count = Math.Min(WeightTile.Rows, weight.Rows - first);
                for (int t = 0; t < tokens; t++)
                {
                    y.AsSpan(t * WeightTile.Rows, count).CopyTo(result.AsSpan((t * weight.Rows) + first));
                }
            }
        }

        return result;
    }

    private static float[] Scalar(WeightMatrix weight, QuantizedRows rows, int tokens)
    {
        var result = new float[tokens * weight.Rows];
        fixed (float* y = result)
        {
            for (int t = 0; t < tokens; t++)
            {
                Int4Gemv.Multiply(InstructionSet.Scalar, weight, 0, weight.Rows, rows.Row(t), y + (t * weight.Rows));
            }
        }

        return result;
    }

    private static byte[] Unpack(InstructionSet set, WeightMatrix weight, int firstRow)
    {
        var tile = new byte[WeightTile.Bytes(weight.Columns)];
        Array.Fill(tile, (byte)0xEE);
        fixed (byte* target = tile)
        {
            TileUnpacker.Unpack(set, weight, firstRow, target);
        }

        return tile;
    }
}
