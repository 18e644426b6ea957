// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.CodeGeneration;

/// <summary>Whatever this machine's code is written for, that of each target computes the scalar kernel's bits.</summary>
[TestFixture]
[Category("Kernels")]
internal sealed unsafe class CodeTargetTests
{
    [Test]
    public void Stored_rows([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(1, 31, 512, 1000, 7168)] int columns)
    {
        const int Rows = 5;
        GeneratedTileKernel kernel = Kernel(target);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 7);
        using QuantizedRows x = TileKernelTests.Rounded(1, columns, 8);
        var expected = new float[Rows];
        var actual = new float[Rows];
        fixed (float* y = expected)
        fixed (float* z = actual)
        {
            Int4Gemv.Multiply(InstructionSet.Scalar, weight.Matrix, 0, Rows, x.Row(0), y);
            kernel.MultiplyStored(weight.Matrix, 0, Rows, x.Row(0), z);
        }

        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void Stored_rows_and_several_tokens([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(31, 1000, 7168)] int columns)
    {
        const int Rows = 40;
        GeneratedTileKernel kernel = Kernel(target);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 16);
        for (int tokens = 2; tokens <= kernel.MostStoredTokens; tokens++)
        {
            using QuantizedRows x = TileKernelTests.Rounded(tokens, columns, 17);
            CheckStored(kernel, weight.Matrix, weight.Matrix, x, tokens);
        }
    }

    /// <summary>Fewer rows than are multiplied together take the tokens one by one.</summary>
    [Test]
    public void Stored_rows_and_several_tokens_off_a_cache_line([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(3, 32, 43)] int rows, [Values(1024, 1152, 1408)] int columns, [Values(2, 3, 4, 6, 11)] int tokens)
    {
        const int Behind = 8;
        GeneratedTileKernel kernel = Kernel(target);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, rows, columns, 18);
        using var data = new GuardedBuffer(weight.Data.Length + Behind);
        weight.Data.CopyTo(data.Span);
        Assert.That(WholeLines.Pays(data.Pointer, weight.Matrix.RowBytes));
        using QuantizedRows x = TileKernelTests.Rounded(tokens, columns, 19);
        CheckStored(kernel, weight.Matrix, new WeightMatrix(WeightFormat.Int4Group32, rows, columns, data.Pointer, weight.Matrix.Scales), x, tokens);
    }

    /// <summary>Rows that begin anywhere in a line; the byte behind the last one must not be read.</summary>
    [Test]
    public void Stored_rows_at_any_address([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(512, 1024, 1056, 1152, 1280, 1408, 2000, 2048)] int columns)
    {
        // Two fours and three more.
        const int Rows = 11;
        GeneratedTileKernel kernel = Kernel(target);
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, 12);
        using QuantizedRows x = TileKernelTests.Rounded(1, columns, 13);
        var expected = new float[Rows];
        fixed (float* y = expected)
        {
            Int4Gemv.Multiply(InstructionSet.Scalar, weight.Matrix, 0, Rows, x.Row(0), y);
        }

        for (int behind = 0; behind <= 64; behind++)
        {
            using var data = new GuardedBuffer(weight.Data.Length + behind);
            using var scales = new GuardedBuffer(weight.Scales.Length + behind);
            weight.Data.CopyTo(data.Span);
            weight.Scales.CopyTo(scales.Span);
            var actual = new float[Rows];
            fixed (float* y = actual)
            {
                kernel.MultiplyStored(new WeightMatrix(WeightFormat.Int4Group32, Rows, columns, data.Pointer, scales.Pointer), 0, Rows, x.Row(0), y);
            }

            Assert.That(actual, Is.EqualTo(expected), $"{behind} bytes before the guard page");
        }
    }

    [Test]
    public void A_tile_and_one_token([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(31, 512, 1000)] int columns)
    {
        GeneratedTileKernel kernel = Kernel(target);
        using var tile = new AlignedBuffer<byte>(WeightTile.Bytes(columns));
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, WeightTile.Rows, columns, 9);
        TileUnpacker.Unpack(weight.Matrix, 0, tile.Pointer);
        using QuantizedRows x = TileKernelTests.Rounded(1, columns, 10);
        float[] expected = TileKernelTests.Multiply(TileKernel.Of(TileKernelKind.Scalar), tile.Pointer, false, columns, x, 1);
        Assert.That(TileKernelTests.Multiply(kernel, tile.Pointer, false, columns, x, 1), Is.EqualTo(expected));
    }

    [Test]
    public void Rows_of_BF16([Values(1, 8, 21)] int rows, [Values(1, 31, 1567)] int columns)
    {
        float[][] results = [.. CodeTargets.Runnable.Select(target =>
        {
            if (Kernel(target).BFloat16Products is not { } products)
            {
                Assert.Ignore("Needs AVX512_BF16.");
                return [];
            }

            using var weight = new RandomMatrix(WeightFormat.BFloat16, rows, columns, 11);
            using var x = new BFloat16Tiles(products.Tiles);
            float[] values = [.. Enumerable.Range(0, columns).Select(i => MathF.Cos(i))];
            var result = new float[rows];
            fixed (float* source = values)
            fixed (float* y = result)
            {
                x.Set(source, columns, 1, columns);
                products.Multiply(weight.Matrix, 0, rows, x, y, rows);
            }

            return result;
        })];
        Assert.That(results, Is.All.EqualTo(results[0]));
        Assert.That(results[0], Is.Not.All.Zero);
    }

    [Test]
    public void Rows_of_BF16_at_any_address([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(32, 48, 64, 96, 100, 1024)] int columns)
    {
        const int Rows = 8;
        if (Kernel(target).BFloat16Products is not { } products)
        {
            Assert.Ignore("Needs AVX512_BF16.");
            return;
        }

        using var weight = new RandomMatrix(WeightFormat.BFloat16, Rows, columns, 14);
        using var x = new BFloat16Tiles(products.Tiles);
        float[] values = [.. Enumerable.Range(0, columns).Select(i => MathF.Cos(i))];
        float[]? first = null;
        fixed (float* source = values)
        {
            x.Set(source, columns, 1, columns);
        }

        for (int behind = 0; behind <= 64; behind++)
        {
            using var data = new GuardedBuffer(weight.Data.Length + behind);
            weight.Data.CopyTo(data.Span);
            var actual = new float[Rows];
            fixed (float* y = actual)
            {
                products.Multiply(new WeightMatrix(WeightFormat.BFloat16, Rows, columns, data.Pointer, null), 0, Rows, x, y, Rows);
            }

            Assert.That(actual, Is.EqualTo(first ??= actual), $"{behind} bytes before the guard page");
        }
    }

    /// <summary>Dot products and the multiply-adds that stand for them, with every kind of number, zeros' signs included; parts of rows, single rows and whole ones.</summary>
    [Test]
    public void Rows_of_BF16_and_several_tokens_are_the_same_bits_however_they_are_multiplied([Values(2, 5, 6, 13)] int tokens, [Values(32, 70, 1607)] int columns, [Values(9, 45)] int rows) =>
        AreTheSameBitsHoweverTheyAreMultiplied(tokens, columns, rows);

    /// <summary>The same where blocks of rows stay in the second-level cache, of two sizes.</summary>
    [TestCase(131, 3101, 70)]
    [TestCase(25, 18432, 67)]
    public void Rows_of_BF16_and_many_tokens_are_the_same_bits_however_they_are_multiplied(int tokens, int columns, int rows)
    {
        Assert.That((long)sizeof(ushort) * columns * tokens, Is.GreaterThan(BFloat16Products.MostStreamedBytes));
        AreTheSameBitsHoweverTheyAreMultiplied(tokens, columns, rows);
    }

    private static void AreTheSameBitsHoweverTheyAreMultiplied(int tokens, int columns, int rows)
    {
        using var weight = new RandomMatrix(WeightFormat.BFloat16, rows, columns, 14);
        var random = new Random(columns + tokens);
        Span<ushort> numbers = MemoryMarshal.Cast<byte, ushort>(weight.Data);
        for (int i = 0; i < numbers.Length; i++)
        {
            // Products with small activations are subnormal, then weights are, then anything goes.
            ushort mantissa = (ushort)random.Next(128), sign = (ushort)(random.Next(2) << 15);
            numbers[i] = (i / columns % 4) switch
            {
                1 => (ushort)(sign | (random.Next(50, 62) << 7) | mantissa),
                2 => (ushort)(sign | mantissa),
                3 => (ushort)random.Next(1 << 16),
                _ => numbers[i],
            };
        }

        float[] values = [.. Enumerable.Range(0, tokens * columns).Select(i => (i / columns % 3) switch
        {
            1 => MathF.Cos(i) * 1e-17f,
            2 => BitConverter.Int32BitsToSingle(random.Next() & ~(1 << 30)),
            _ => MathF.Cos(i),
        })];
        uint[][] results = [.. CodeTargets.Runnable.Select(target => Kernel(target).BFloat16Products).OfType<BFloat16Products>().Select(products =>
        {
            using var x = new BFloat16Tiles(products.Tiles);
            var actual = new float[tokens * rows];
            fixed (float* source = values)
            fixed (float* y = actual)
            {
                x.Set(source, columns, tokens, columns);
                products.Multiply(weight.Matrix, 0, rows, x, y, rows);
            }

            return actual.Select(v => float.IsNaN(v) ? uint.MaxValue : BitConverter.SingleToUInt32Bits(v)).ToArray();
        })];
        Assert.That(results, Is.All.EqualTo(results.FirstOrDefault()));
        if (results.Length > 0)
        {
            Assert.That(results[0].Where((_, i) => i % rows % 4 == 1), Has.Some.Not.Zero);
        }

        // Whoever calls has subnormal numbers as before.
        Assert.That(values[0] * float.Epsilon, Is.Not.Zero);
    }

    /// <summary>Rows that begin with any element of a line, beside a guard page, where the pairs of several tokens are the definition.</summary>
    [Test]
    public void Sums_of_BF16_rows_of_one_token([ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(8, 24, 64)] int rows, [Values(32, 64, 512)] int columns)
    {
        if (Kernel(target).BFloat16Products is not { } products)
        {
            Assert.Ignore("Needs AVX512_BF16.");
            return;
        }

        using var weight = new RandomMatrix(WeightFormat.BFloat16, rows, columns, 15);
        using var pairs = new BFloat16Pairs();
        pairs.Set(weight.Matrix.Data, weight.Matrix.RowBytes, rows, columns, null);
        var factors = new ushort[BFloat16PairsCode.Rows];
        for (int i = 0; i < rows; i++)
        {
            factors[i] = BFloat16.FromSingle(MathF.Cos(i));
        }

        var expected = new float[pairs.Columns];
        fixed (ushort* f = factors)
        fixed (float* y = expected)
        {
            products.Accumulate(pairs, f, 1, y, 0);
            for (int behind = 0; behind <= 64; behind += sizeof(ushort))
            {
                using var data = new GuardedBuffer(weight.Data.Length + behind);
                weight.Data.CopyTo(data.Span);
                var actual = new float[columns + 1];
                fixed (float* z = actual)
                {
                    var matrix = new WeightMatrix(WeightFormat.BFloat16, rows, columns, data.Pointer, null);
                    Assert.That(BFloat16Products.CanSumRows(matrix));
                    products.SumRows(matrix, f, null, z);
                }

                Assert.That(actual.AsSpan(0, columns).SequenceEqual(expected.AsSpan(0, columns)), $"{behind} bytes before the guard page");
                Assert.That(actual[columns], Is.Zero);
            }
        }
    }

    [Test]
    public void Sums_of_rows_are_not_taken_where_lines_would_not_do()
    {
        using var memory = new AlignedBuffer<byte>(4096);
        WeightMatrix Matrix(int rows, int columns, int offset) => new(WeightFormat.BFloat16, rows, columns, memory.Pointer + offset, null);
        Assert.That(BFloat16Products.CanSumRows(Matrix(8, 64, 2)));
        Assert.That(BFloat16Products.CanSumRows(Matrix(0, 64, 2)), Is.False);
        Assert.That(BFloat16Products.CanSumRows(Matrix(7, 64, 2)), Is.False, "rows come in eights");
        Assert.That(BFloat16Products.CanSumRows(Matrix(8, 48, 2)), Is.False, "rows begin at different places of a line");
        Assert.That(BFloat16Products.CanSumRows(Matrix(8, 64, 1)), Is.False, "elements lie across lines");
    }

    /// <summary>Products of all rows of a weight, wherever its copy lies, are those of the scalar kernel to the bit.</summary>
    private static void CheckStored(GeneratedTileKernel kernel, in WeightMatrix weight, in WeightMatrix copy, QuantizedRows x, int tokens)
    {
        int rows = weight.Rows;
        var expected = new float[tokens * rows];
        var actual = new float[tokens * rows];
        fixed (float* y = expected)
        fixed (float* z = actual)
        {
            for (int t = 0; t < tokens; t++)
            {
                Int4Gemv.Multiply(InstructionSet.Scalar, weight, 0, rows, x.Row(t), y + (t * rows));
            }

            kernel.MultiplyStored(copy, 0, rows, [.. Enumerable.Range(0, tokens).Select(x.Row)], z, rows, default, 0);
        }

        Assert.That(actual, Is.EqualTo(expected), $"{tokens} tokens");
    }

    private static GeneratedTileKernel Kernel(CodeTarget target)
    {
        GeneratedTileKernel? kernel = GeneratedTileKernel.TryCreate(target);
        if (kernel is null)
        {
            Assert.Ignore("Needs AVX-512 VNNI, and executable memory.");
        }

        return kernel!;
    }
}
