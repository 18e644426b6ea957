// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Attention of given lengths, checked by merging the splits in double precision.</summary>
internal static class AttentionCase
{
    public static void Check(KernelHarness harness, CacheFormat format, int[] lengths, int latent, int rope, int heads, double tolerance, int most = KernelSet.MaxSplits)
    {
        var cache = new PagedCache(harness, format, lengths, latent, rope);
        Check(harness, cache, lengths, latent, rope, heads, tolerance, Query(lengths.Length * heads * (latent + rope)), most);
    }

    /// <summary>
    /// The first and the last token of each tile of 32, a quarter of them in each of four rows, count 65,536 times as much as the others:
    /// a result that lacks one of them, or has it twice, is far off.
    /// </summary>
    public static void CheckEnds(KernelHarness harness, CacheFormat format, int length, int heads, double tolerance)
    {
        const int Latent = 512;
        const int Rope = 64;
        int[] lengths = [length, length, length, length];
        var cache = new PagedCache(harness, format, lengths, Latent, Rope);
        int[] ends = [.. Enumerable.Range(0, length).Where(t => t % 32 is 0 or 31 || t == length - 1)];
        for (int i = 0; i < ends.Length; i++)
        {
            cache.SetKey(i % lengths.Length, ends[i], 0.5f);
        }

        ushort[] query = Query(lengths.Length * heads * (Latent + Rope));
        for (int place = 0; place < lengths.Length * heads; place++)
        {
            query.AsSpan((place * (Latent + Rope)) + Latent, Rope).Fill(BFloat16.FromSingle(0.5f));
        }

        Check(harness, cache, lengths, Latent, Rope, heads, tolerance, query);
    }

    private static void Check(KernelHarness harness, PagedCache cache, int[] lengths, int latent, int rope, int heads, double tolerance, ushort[] query, int most = KernelSet.MaxSplits)
    {
        CacheFormat format = cache.Format;
        int places = lengths.Length * heads * KernelSet.MaxSplits;
        ulong partial = harness.New<float>(places * latent);
        ulong logs = harness.New<float>(places);
        harness.Kernels.Attend(harness.Stream, format, lengths.Max(l => KernelSet.Splits(l, most)), lengths.Length, new AttendArguments { Cache = cache.Arguments, Absorbed = harness.Put<ushort>(query), Partial = partial, LogSums = logs, Heads = (uint)heads, MostSplits = (uint)most });
        double error = Error(cache, lengths, latent, rope, heads, query, most, harness.Get<float>(partial, places * latent), harness.Get<float>(logs, places));
        KernelHarness.AssertClose(0, error, tolerance, $"{format}, lengths {string.Join(", ", lengths)}, latent {latent}, {heads} heads, {most} parts at most");
    }

    /// <summary>The grid of recorded launches has more splits than the caches: what the kernels write must be the same, to the bit.</summary>
    public static void CheckGrid(KernelHarness harness, CacheFormat format, int[] lengths, int latent, int rope, int heads)
    {
        var cache = new PagedCache(harness, format, lengths, latent, rope);
        ulong query = harness.Put<ushort>(Query(lengths.Length * heads * (latent + rope)));
        int places = lengths.Length * heads * KernelSet.MaxSplits;
        const int Most = KernelSet.MaxSplits;
        int least = lengths.Max(l => KernelSet.Splits(l, Most));
        int grid = KernelSet.GridSplits(lengths.Max(), Most);
        Assert.That(grid, Is.GreaterThan(least));
        Assert.That(Attended(grid), Is.EqualTo(Attended(least)));

        int[] Attended(int splits)
        {
            ulong partial = harness.Put<float>(new float[places * latent]);
            ulong logs = harness.Put<float>(new float[places]);
            harness.Kernels.Attend(harness.Stream, format, splits, lengths.Length, new AttendArguments { Cache = cache.Arguments, Absorbed = query, Partial = partial, LogSums = logs, Heads = (uint)heads, MostSplits = Most });
            return [.. harness.Get<int>(partial, places * latent).ToArray(), .. harness.Get<int>(logs, places).ToArray()];
        }
    }

    /// <summary>Small enough that scores spread over a few powers of two.</summary>
    private static ushort[] Query(int count) => [.. KernelHarness.Random(count, seed: 9).Select(v => BFloat16.FromSingle(v / 4))];

    /// <summary>The largest error over the largest value; NaN where any is.</summary>
    private static double Error(PagedCache cache, int[] lengths, int latent, int rope, int heads, ushort[] query, int most, ReadOnlySpan<float> partial, ReadOnlySpan<float> logs)
    {
        double worst = 0;
        double largest = 0;
        for (int row = 0; row < lengths.Length; row++)
        {
            double[][] slots = [.. Enumerable.Range(0, lengths[row]).Select(t => cache.Slot(row, t))];
            for (int h = 0; h < heads; h++)
            {
                int place = (row * heads) + h;
                var scores = new double[slots.Length];
                for (int t = 0; t < slots.Length; t++)
                {
                    for (int i = 0; i < latent + rope; i++)
                    {
                        scores[t] += BFloat16.ToSingle(query[(place * (latent + rope)) + i]) * slots[t][i];
                    }
                }

                double top = scores.Max();
                double total = scores.Sum(s => Math.Pow(2, s - top));
                int splits = KernelSet.Splits(lengths[row], most);
                double merged = 0;
                for (int s = 0; s < splits; s++)
                {
                    merged += Math.Pow(2, logs[(place * KernelSet.MaxSplits) + s] - top);
                }

                for (int c = 0; c < latent; c++)
                {
                    double expected = 0;
                    for (int t = 0; t < slots.Length; t++)
                    {
                        expected += Math.Pow(2, scores[t] - top) / total * slots[t][c];
                    }

                    double actual = 0;
                    for (int s = 0; s < splits; s++)
                    {
                        actual += Math.Pow(2, logs[(place * KernelSet.MaxSplits) + s] - top) / merged * partial[(((place * KernelSet.MaxSplits) + s) * latent) + c];
                    }

                    double error = Math.Abs(expected - actual);
                    worst = error > worst || double.IsNaN(error) || double.IsNaN(worst) ? error + (double.IsNaN(worst) ? worst : 0) : worst;
                    largest = Math.Max(largest, Math.Abs(expected));
                }
            }
        }

        return worst / largest;
    }
}
