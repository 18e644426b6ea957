// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>A paged cache whose pages lie in any order, random where there are tokens and NaN behind them.</summary>
internal sealed unsafe class PagedCache
{
    private readonly ushort* _memory;
    private readonly int[] _tables;
    private readonly int[] _pages;
    private readonly int _pageValues;
    private readonly int _width;

    public PagedCache(KernelHarness harness, int[] lengths, int latent, int rope)
    {
        _width = latent + rope;
        int[] needed = [.. lengths.Select(l => (l + KvPage.Tokens - 1) / KvPage.Tokens)];
        int count = needed.Sum();
        _pages = [.. Enumerable.Range(0, count).OrderBy(p => (p * 7919) % 1009)];
        _tables = [.. needed.Select((_, i) => needed[..i].Sum())];

        // A page has two layers; the second one is used.
        _pageValues = 2 * KvPage.Tokens * _width;
        _memory = (ushort*)harness.New<ushort>(count * _pageValues);
        var random = new Random(lengths.Length + latent);
        for (int row = 0; row < lengths.Length; row++)
        {
            for (int token = 0; token < lengths[row]; token++)
            {
                foreach (ref ushort value in new Span<ushort>(At(row, token), _width))
                {
                    value = BFloat16.FromSingle((random.NextSingle() * 2) - 1);
                }
            }
        }

        Arguments = new CacheArguments
        {
            Layer = (ulong)(_memory + (KvPage.Tokens * _width)),
            Lengths = harness.Put<int>(lengths),
            Tables = harness.Put<int>(_tables),
            Pages = harness.Put<int>(_pages),
            PageBytes = (ulong)(_pageValues * sizeof(ushort)),
            Latent = (uint)latent,
            Rope = (uint)rope,
        };
    }

    public CacheArguments Arguments { get; }

    /// <summary>Where each row's page table begins.</summary>
    public IReadOnlyList<int> Tables => _tables;

    public double[] Slot(int row, int token) => [.. new ReadOnlySpan<ushort>(At(row, token), _width).ToArray().Select(v => (double)BFloat16.ToSingle(v))];

    /// <summary>Makes a token's slot NaN.</summary>
    public void Poison(int row, int token) => new Span<ushort>(At(row, token), _width).Fill(0xFFFF);

    private ushort* At(int row, int token) =>
        _memory + ((long)_pages[_tables[row] + (token / KvPage.Tokens)] * _pageValues) + ((KvPage.Tokens + (token % KvPage.Tokens)) * _width);
}

/// <summary>Attention of given lengths, checked by merging the splits in double precision.</summary>
internal static class AttentionCase
{
    public static void Check(KernelHarness harness, int[] lengths, int latent, int rope, int heads, double tolerance)
    {
        var cache = new PagedCache(harness, lengths, latent, rope);
        ushort[] query = Query(lengths.Length * heads * (latent + rope));
        int places = lengths.Length * heads * KernelSet.MaxSplits;
        ulong partial = harness.New<float>(places * latent);
        ulong logs = harness.New<float>(places);
        harness.Kernels.Attend(harness.Stream, lengths.Max(KernelSet.Splits), lengths.Length, new AttendArguments { Cache = cache.Arguments, Absorbed = harness.Put<ushort>(query), Partial = partial, LogSums = logs, Heads = (uint)heads });
        double error = Error(cache, lengths, latent, rope, heads, query, harness.Get<float>(partial, places * latent), harness.Get<float>(logs, places));
        KernelHarness.AssertClose(0, error, tolerance, $"lengths {string.Join(", ", lengths)}, latent {latent}, {heads} heads");
    }

    /// <summary>Small enough that scores spread over a few powers of two.</summary>
    private static ushort[] Query(int count) => [.. KernelHarness.Random(count, seed: 9).Select(v => BFloat16.FromSingle(v / 4))];

    /// <summary>The largest error over the largest value; NaN where any is.</summary>
    private static double Error(PagedCache cache, int[] lengths, int latent, int rope, int heads, ushort[] query, ReadOnlySpan<float> partial, ReadOnlySpan<float> logs)
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
                int splits = KernelSet.Splits(lengths[row]);
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
