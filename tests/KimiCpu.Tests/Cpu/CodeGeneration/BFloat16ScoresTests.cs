// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.CodeGeneration;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class BFloat16ScoresTests
{
    private const int Lanes = BFloat16ScoresCode.Lanes;

    /// <summary>The last key ends with a guard page, so that no byte behind it is read.</summary>
    [Test]
    public void Scores_are_the_bits_of_their_definition(
        [Values(1, 2, 31, 33, 64, 192, 576)] int columns, [Values(1, 16, 17, 40, 64)] int queries, [Values(1, 5, 6, 7, 12, 13, 23, 64)] int keys)
    {
        using var stored = new GuardedBuffer(sizeof(ushort) * keys * columns);
        float[] x = Fill(stored, queries, columns);
        float[] actual = Score(BFloat16ProductsTests.Products, stored, keys, x, queries, columns);
        for (int t = 0; t < keys; t++)
        {
            for (int q = 0; q < queries; q++)
            {
                Assert.That(actual[(t * Lanes) + q], Is.EqualTo(Definition(stored, t, x.AsSpan(q * columns, columns))), $"key {t}, query {q}");
            }
        }
    }

    /// <summary>Behind an odd last column lies the next key, which may hold anything.</summary>
    [Test]
    public void Extreme_numbers_reach_their_own_scores_only([Values(33, 64)] int columns, [Values(1, 20, 64)] int queries, [Values(3, 30)] int keys)
    {
        using var stored = new GuardedBuffer(sizeof(ushort) * keys * columns);
        float[] x = Fill(stored, queries, columns);
        float[] before = Score(BFloat16ProductsTests.Products, stored, keys, x, queries, columns);
        Span<ushort> second = Key(stored, 1, columns);
        second[0] = BFloat16.FromSingle(float.NaN);
        second[1] = BFloat16.FromSingle(float.PositiveInfinity);
        float[] after = Score(BFloat16ProductsTests.Products, stored, keys, x, queries, columns);
        for (int t = 0; t < keys; t++)
        {
            float[] scores = after[(t * Lanes)..((t * Lanes) + queries)];
            Assert.That(scores, t == 1 ? Is.All.NaN : Is.EqualTo(before[(t * Lanes)..((t * Lanes) + queries)]), $"key {t}");
        }
    }

    [Test]
    public void Code_for_windows_computes_the_same_scores([Values(1, 33, 64)] int columns, [Values(1, 17, 40, 64)] int queries)
    {
        BFloat16Products products = BFloat16ProductsTests.Products;
        if (OperatingSystem.IsWindows())
        {
            Assert.Ignore("Needs a system with the System V convention.");
        }

        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.WindowsX64, CodeTarget.Current);
        using ExecutableMemory windows = ExecutableMemory.TryCreate(functions.Bytes)!;
        var bridges = functions.BFloat16Scores.ToDictionary(f => f.Key, f => TileCodeTests.Bridge(windows.Pointer + f.Value));
        try
        {
            GeneratedCode bridged = functions with { BFloat16Scores = bridges.ToDictionary(b => b.Key, b => (long)b.Value.Pointer - (long)windows.Pointer) };
            var other = new BFloat16Products(windows, bridged);
            foreach (int keys in new[] { 1, 3, 4, 6, 9, 12, 31, 64 })
            {
                using var stored = new GuardedBuffer(sizeof(ushort) * keys * columns);
                float[] x = Fill(stored, queries, columns);
                Assert.That(Score(other, stored, keys, x, queries, columns), Is.EqualTo(Score(products, stored, keys, x, queries, columns)), $"{keys} keys");
            }
        }
        finally
        {
            Array.ForEach([.. bridges.Values], b => b.Dispose());
        }
    }

    /// <summary>Half of the queries are of a second row, rows being further apart than what they hold.</summary>
    private static float[] Score(BFloat16Products products, GuardedBuffer stored, int keys, float[] x, int queries, int columns)
    {
        const int Gap = 3;
        int heads = queries % 2 == 0 ? queries / 2 : queries;
        int stride = (heads * columns) + Gap;
        var rows = new float[queries / heads * stride];
        for (int q = 0; q < queries; q++)
        {
            x.AsSpan(q * columns, columns).CopyTo(rows.AsSpan((q / heads * stride) + (q % heads * columns)));
        }

        using var taken = new BFloat16Queries(columns);
        var scores = new float[keys * Lanes];
        fixed (float* source = rows)
        fixed (float* target = scores)
        {
            // What an earlier, larger use left behind must not be seen.
            using var before = new AlignedBuffer<float>(Lanes * columns);
            before.Span(0, Lanes * columns).Fill(float.NaN);
            taken.Set(before.Pointer, 0, Lanes, Lanes);
            taken.Set(source, stride, heads, queries);
            products.Score(new WeightMatrix(WeightFormat.BFloat16, keys, columns, stored.Pointer), taken, target);
        }

        int vectors = (queries + BFloat16ScoresCode.VectorLanes - 1) / BFloat16ScoresCode.VectorLanes;
        Assert.That(scores.Where((_, i) => i % Lanes >= vectors * BFloat16ScoresCode.VectorLanes), Is.All.Zero, "lanes behind the last vector");
        return scores;
    }

    private static float[] Fill(GuardedBuffer stored, int queries, int columns)
    {
        var random = new Random(columns + queries);
        foreach (ref ushort element in System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(stored.Span))
        {
            element = BFloat16.FromSingle(random.NextSingle() - 0.5f);
        }

        return [.. Enumerable.Range(0, queries * columns).Select(_ => random.NextSingle() - 0.5f)];
    }

    private static Span<ushort> Key(GuardedBuffer stored, int index, int columns) =>
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(stored.Span).Slice(index * columns, columns);

    private static float Definition(GuardedBuffer stored, int index, ReadOnlySpan<float> query)
    {
        Span<ushort> key = Key(stored, index, query.Length);
        float sum = 0;
        for (int c = 0; c < query.Length; c += 2)
        {
            sum = c + 1 < query.Length ? MathF.FusedMultiplyAdd(BFloat16ProductsTests.Rounded(query[c + 1]), BFloat16.ToSingle(key[c + 1]), sum) : sum;
            sum = MathF.FusedMultiplyAdd(BFloat16ProductsTests.Rounded(query[c]), BFloat16.ToSingle(key[c]), sum);
        }

        return sum;
    }
}
