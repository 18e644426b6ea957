// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Bench.Gpu;
using KimiCpu.Compute;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Tests.Cpu;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Rotation and cache, absorption, attention over pages, and expansion, against double precision.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class AttentionTests
{
    [Test]
    public void Keys_are_rotated_normed_and_stored_where_the_tables_say([Values] CacheFormat format)
    {
        using var harness = new KernelHarness();
        CheckStore(harness, format, 3, 32, 16, 48);
        CheckStore(harness, format, 1, 7, 2, 30);
        CheckStore(harness, format, 2, 5, 6, 131);
        CheckStore(harness, format, 16, 128, 64, 512);
        CheckStore(harness, format, 52, 7, 64, 131);
    }

    internal static void CheckStore(KernelHarness harness, CacheFormat format, int heads, int nope, int rope, int latent)
    {
        int[] lengths = [1, 64, 65, 130];
        var cache = new PagedCache(harness, format, lengths, latent, rope);
        double[][] others = Others(cache, lengths);
        int pairs = rope / 2;
        float[] query = KernelHarness.Random(lengths.Length * heads * (nope + rope), seed: 1);
        float[] values = KernelHarness.Random(lengths.Length * (latent + rope), seed: 2);
        float[] gain = KernelHarness.Random(latent, seed: 3);
        float[] angles = KernelHarness.Random(lengths.Length * pairs, seed: 4);
        float[] cosines = [.. angles.Select(MathF.Cos)];
        float[] sines = [.. angles.Select(MathF.Sin)];
        ulong queryOnDevice = harness.Put<float>(query);
        harness.Kernels.RopeStore(harness.Stream, format, lengths.Length, new RopeArguments
        {
            Cache = cache.Arguments,
            Query = queryOnDevice,
            Latent = harness.Put<float>(values),
            Gain = harness.Put<float>(gain),
            Rotations = harness.Put<float>([.. cosines.Chunk(pairs).Zip(sines.Chunk(pairs), (c, s) => c.Concat(s)).Reverse().SelectMany(row => row)]) + (ulong)(2 * sizeof(float) * angles.Length),
            Heads = (uint)heads,
            Nope = (uint)nope,
            Epsilon = 1e-6f,
        });
        float[] rotated = harness.Get<float>(queryOnDevice, query.Length);
        cache.Fetch();
        Assert.That(Others(cache, lengths), Is.EqualTo(others), "the other tokens");
        for (int row = 0; row < lengths.Length; row++)
        {
            ReadOnlySpan<float> x = values.AsSpan(row * (latent + rope), latent + rope);
            double squares = 0;
            foreach (float value in x[..latent])
            {
                squares += (double)value * value;
            }

            double norm = 1 / Math.Sqrt((squares / latent) + 1e-6);
            double[] stored = cache.Slot(row, lengths[row] - 1);
            for (int i = 0; i < latent; i++)
            {
                double expected = x[i] * norm * gain[i];
                double tolerance = format == CacheFormat.BFloat16 ? Math.Abs(expected) / 250 : (0.5 * (double)cache.Factors(row, lengths[row] - 1)[i / 128]) + (1e-6 * Math.Abs(expected));
                KernelHarness.AssertClose(expected, (float)stored[i], tolerance, $"{format}, latent {i} of row {row}");
            }

            for (int g = 0; format == CacheFormat.Int8 && g < (latent + 127) / 128; g++)
            {
                int[] group = [.. cache.Bytes(row, lengths[row] - 1).Skip(g * 128).Take(128).Select(v => Math.Abs((int)v))];
                KernelHarness.AssertClose(127, group.Max(), 0, $"the largest of group {g} of row {row}");
            }

            CheckRotation(x[latent..], stored.AsSpan(latent), cosines.AsSpan(row * pairs), sines.AsSpan(row * pairs), 1.0 / 128);
            for (int h = 0; h < heads; h++)
            {
                int at = ((row * heads) + h) * (nope + rope);
                Assert.That(rotated.AsSpan(at, nope).ToArray(), Is.EqualTo(query.AsSpan(at, nope).ToArray()));
                CheckRotation(query.AsSpan(at + nope, rope), rotated.AsSpan(at + nope, rope).ToArray().Select(v => (double)v).ToArray(), cosines.AsSpan(row * pairs), sines.AsSpan(row * pairs), 1e-6);
            }
        }
    }

    /// <summary>What stands before the tokens that are stored.</summary>
    private static double[][] Others(PagedCache cache, int[] lengths) =>
        [.. lengths.SelectMany((length, row) => Enumerable.Range(0, length - 1).Select(token => cache.Slot(row, token)))];

    private static void CheckRotation(ReadOnlySpan<float> before, ReadOnlySpan<double> after, ReadOnlySpan<float> cosines, ReadOnlySpan<float> sines, double tolerance)
    {
        for (int i = 0; i < before.Length / 2; i++)
        {
            double even = ((double)before[2 * i] * cosines[i]) - ((double)before[(2 * i) + 1] * sines[i]);
            double odd = ((double)before[(2 * i) + 1] * cosines[i]) + ((double)before[2 * i] * sines[i]);
            KernelHarness.AssertClose(even, (float)after[2 * i], tolerance, $"pair {i}");
            KernelHarness.AssertClose(odd, (float)after[(2 * i) + 1], tolerance, $"pair {i}");
        }
    }

    [Test]
    public void Queries_are_absorbed_and_values_expanded([Values] DeviceFormat format, [Values(30, 48, 512, 530)] int latent)
    {
        using var harness = new KernelHarness();
        CheckExpansion(harness, format, latent);
    }

    /// <summary>More rows of a weight and more splits than are on their way at once.</summary>
    [Test]
    public void Long_heads_and_caches_are_absorbed_and_expanded_too([Values] DeviceFormat format)
    {
        using var harness = new KernelHarness();
        CheckExpansion(harness, format, 280, nope: 70, value: 75, lengths: [1030, 2200, 4096, 9000, 1, 1025, 300, 129, 4097]);
    }

    /// <summary>What a card of fewer multiprocessors cuts a cache into.</summary>
    [Test]
    public void As_many_parts_are_merged_as_attention_has_made([Values(1, 5, 14, 27)] int most)
    {
        using var harness = new KernelHarness();
        CheckExpansion(harness, DeviceFormat.Int8, 48, nope: 9, value: 7, lengths: [1, 129, 641, 1793, 3457, 9000], most);
    }

    internal static void CheckExpansion(KernelHarness harness, DeviceFormat format, int latent) =>
        CheckExpansion(harness, format, latent, nope: 9, value: 7, lengths: [100, 300, 128, 129, 1, 256, 257, 384, 385, 2]);

    private static void CheckExpansion(KernelHarness harness, DeviceFormat format, int latent, int nope, int value, int[] lengths, int most = KernelSet.MaxSplits)
    {
        const int Heads = 3;
        const int Rope = 4;
        int batch = lengths.Length;
        WeightFormat stored = format switch { DeviceFormat.Float8 => WeightFormat.Float8Block, DeviceFormat.Float32 => WeightFormat.Float32, _ => WeightFormat.BFloat16 };
        using var matrix = new RandomMatrix(stored, Heads * (nope + value), latent, seed: latent, block: 16);
        DeviceWeight weight = harness.Put(matrix.Matrix, format);
        double[][] w = KernelHarness.Decode(weight);
        float[] query = KernelHarness.Random(batch * Heads * (nope + Rope), seed: 1);
        ulong absorbedOnDevice = harness.New<ushort>(batch * Heads * (latent + Rope));
        var absorb = new AbsorbArguments { Expansion = weight.Matrix, Query = harness.Put<float>(query), Absorbed = absorbedOnDevice, Nope = (uint)nope, Rope = Rope, Value = (uint)value, Batch = (uint)batch, Scale = 0.3f };
        harness.Kernels.Absorb(harness.Stream, format, Heads, absorb);
        ushort[] absorbed = harness.Get<ushort>(absorbedOnDevice, batch * Heads * (latent + Rope));
        ulong togetherOnDevice = harness.New<ushort>(absorbed.Length);
        harness.Kernels.AbsorbRows(harness.Stream, format, Heads, absorb with { Absorbed = togetherOnDevice });
        ushort[] together = harness.Get<ushort>(togetherOnDevice, absorbed.Length);
        for (int i = 0; i < absorbed.Length; i++)
        {
            KernelHarness.AssertClose(absorbed[i], together[i], 0, $"absorbed {i}, rows together");
        }

        // Attended latents as if splits had made them.
        float[] partial = KernelHarness.Random(batch * Heads * KernelSet.MaxSplits * latent, seed: 2);
        float[] logs = KernelHarness.Random(batch * Heads * KernelSet.MaxSplits, seed: 3);
        ulong valuesOnDevice = harness.New<float>(batch * Heads * value);
        var expand = new ExpandArguments { Expansion = weight.Matrix, Partial = harness.Put<float>(partial), LogSums = harness.Put<float>(logs), Lengths = harness.Put<int>(lengths), Values = valuesOnDevice, Nope = (uint)nope, Value = (uint)value, MostSplits = (uint)most };
        harness.Kernels.Expand(harness.Stream, format, Heads, batch, expand);
        float[] values = harness.Get<float>(valuesOnDevice, batch * Heads * value);
        ulong firstOnDevice = harness.New<float>(Heads * value);
        harness.Kernels.Expand(harness.Stream, format, Heads, 1, expand with { Values = firstOnDevice });
        Assert.That(harness.Get<int>(firstOnDevice, Heads * value), Is.EqualTo(values.Take(Heads * value).Select(BitConverter.SingleToInt32Bits)), "one row by more blocks");
        for (int b = 0; b < batch; b++)
        {
            for (int h = 0; h < Heads; h++)
            {
                int place = (b * Heads) + h;
                for (int c = 0; c < latent + Rope; c++)
                {
                    double expected = c >= latent ? query[(place * (nope + Rope)) + nope + c - latent] : Enumerable.Range(0, nope).Sum(n => query[(place * (nope + Rope)) + n] * w[(h * (nope + value)) + n][c]);
                    KernelHarness.AssertClose(expected * 0.3f, BFloat16.ToSingle(absorbed[(place * (latent + Rope)) + c]), (Math.Abs(expected) * 0.3 / 200) + 1e-6, $"absorbed {c} of head {h}");
                }

                int splits = KernelSet.Splits(lengths[b], most);
                double total = Enumerable.Range(0, splits).Sum(s => Math.Pow(2, logs[(place * KernelSet.MaxSplits) + s]));
                double Attended(int c) => Enumerable.Range(0, splits).Sum(s => Math.Pow(2, logs[(place * KernelSet.MaxSplits) + s]) / total * partial[(((place * KernelSet.MaxSplits) + s) * latent) + c]);
                double[] attended = [.. Enumerable.Range(0, latent).Select(Attended)];
                for (int v = 0; v < value; v++)
                {
                    double[] row = w[(h * (nope + value)) + nope + v];
                    double expected = Enumerable.Range(0, latent).Sum(c => row[c] * attended[c]);
                    KernelHarness.AssertClose(expected, values[(place * value) + v], 5e-6 * Enumerable.Range(0, latent).Sum(c => Math.Abs(row[c] * attended[c])), $"value {v} of head {h}");
                }
            }
        }
    }

    /// <summary>
    /// On the tensor cores or by the kernel for any size; behind the end of a cache are NaNs. Expected is what the cache holds, so that nothing but
    /// what rounding to its format takes is lost in 8 bits either.
    /// </summary>
    [Test]
    public void Attention_over_pages_agrees_with_double_precision([Values] CacheFormat format, [Values] bool tensorCores)
    {
        using var harness = new KernelHarness();
        foreach (int[] lengths in new[] { [1], [31, 32, 33], [64, 65, 129, 255], new[] { 700 } })
        {
            if (tensorCores)
            {
                AttentionCase.Check(harness, format, lengths, 512, 64, 16, 2.5e-2);
                continue;
            }

            AttentionCase.Check(harness, format, lengths, 512, 64, 3, 1e-3);
            AttentionCase.Check(harness, format, lengths, 131, 6, 2, 1e-3);
            AttentionCase.Check(harness, format, lengths, 30, 2, 9, 1e-3);
        }
    }

    /// <summary>Among many tokens that count alike one would not be missed.</summary>
    [Test]
    public void No_token_at_the_end_of_a_tile_or_a_split_is_lost([Values] CacheFormat format, [Values(1061, 1088)] int length)
    {
        using var harness = new KernelHarness();
        AttentionCase.CheckEnds(harness, format, length, 16, 2.5e-2);
        AttentionCase.CheckEnds(harness, format, length, 1, 1e-3);
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Splits_that_a_row_does_not_have_change_nothing([Values] CacheFormat format)
    {
        using var harness = new KernelHarness();
        foreach (int[] lengths in new[] { [1], [31, 200], new[] { 520 } })
        {
            AttentionCase.CheckGrid(harness, format, lengths, 512, 64, 16);
            AttentionCase.CheckGrid(harness, format, lengths, 30, 2, 3);
        }
    }

    /// <summary>Caches of more parts than a card of few multiprocessors takes at once.</summary>
    [Test]
    public void Fewer_parts_give_the_same_attention([Values] CacheFormat format, [Values(1, 5, 14)] int most)
    {
        using var harness = new KernelHarness();
        int[] lengths = [(128 * most) + 33, 100];
        AttentionCase.Check(harness, format, lengths, 16, 8, 1, 1e-3, most);
        AttentionCase.Check(harness, format, lengths, 512, 64, 16, 2.5e-2, most);
    }

    /// <summary>Blocks of a decoding row of Kimi K2, 16 heads by a part each, of which a multiprocessor has one at a time.</summary>
    [TestCase(2, 1)]
    [TestCase(16, 4)]
    [TestCase(56, 14, Description = "A30")]
    [TestCase(82, 20, Description = "GeForce RTX 3090")]
    [TestCase(108, 27, Description = "A100")]
    [TestCase(128, 32, Description = "GeForce RTX 4090")]
    [TestCase(132, 32, Description = "H200")]
    [TestCase(170, 32, Description = "GeForce RTX 5090")]
    public void A_row_is_cut_into_no_more_parts_than_run_at_once(int multiprocessors, int most)
    {
        ModelShape shape = GpuBenchSizes.KimiK2.Shape;
        int blocks = shape.HeadCount / 16;
        Assert.That(KernelSet.MostSplits(shape, multiprocessors), Is.EqualTo(most));
        Assert.That(most * blocks, Is.LessThanOrEqualTo(Math.Max(multiprocessors, blocks)));
        Assert.That(KernelSet.MostSplits(RouterAndModuleTests.Shape(1, 1, 1, 1, 16), multiprocessors), Is.EqualTo(KernelSet.MaxSplits), "the kernel for any sizes");
    }

    [Test]
    public void Long_caches_use_all_splits([Values] CacheFormat format)
    {
        using var harness = new KernelHarness();
        AttentionCase.Check(harness, format, [4200], 16, 8, 1, 1e-3);
        AttentionCase.Check(harness, format, [4200], 512, 64, 16, 2.5e-2);
    }
}
