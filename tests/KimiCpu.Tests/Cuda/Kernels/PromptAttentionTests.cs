// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Attention of prompts on the tensor cores: rows of a sequence have one cache and ends of their own.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class PromptAttentionTests
{
    private const int Latent = 512;
    private const int Rope = 64;
    private const double Tolerance = 2.5e-2;

    /// <summary>Whole prompts, parts of prompts behind what is cached, and several sequences in one step; ends at a tile, a page, and beside them.</summary>
    [Test]
    public void Rows_see_their_sequence_up_to_themselves([Values] CacheFormat cache, [Values(DeviceFormat.BFloat16, DeviceFormat.Int8)] DeviceFormat format)
    {
        using var harness = new KernelHarness();
        Check(harness, cache, [(0, 3)], 64, format);
        Check(harness, cache, [(30, 4), (0, 1), (62, 4)], 32, format);
        Check(harness, cache, [(127, 2), (200, 1)], 32, format);
    }

    [Test]
    public void A_NaN_reaches_no_earlier_row([Values] CacheFormat format)
    {
        using var harness = new KernelHarness();
        var cache = new PagedCache(harness, format, [40], Latent, Rope);
        cache.Poison(0, 35);
        double[][] attended = Attend(harness, cache, [(33, 7)], 32, Query(7 * 32), DeviceFormat.BFloat16);
        for (int row = 0; row < 7; row++)
        {
            Assert.That(attended.Skip(row * 32).Take(32).SelectMany(h => h).Any(double.IsNaN), Is.EqualTo(row >= 2), $"row {row}");
        }
    }

    internal static void Check(KernelHarness harness, CacheFormat cacheFormat, (int Start, int Count)[] sequences, int heads, DeviceFormat format)
    {
        var cache = new PagedCache(harness, cacheFormat, [.. sequences.Select(s => s.Start + s.Count)], Latent, Rope);
        (int Sequence, int Length)[] rows = Rows(sequences);
        ushort[] query = Query(rows.Length * heads);
        double[][] actual = Attend(harness, cache, sequences, heads, query, format);
        for (int place = 0; place < actual.Length; place++)
        {
            (int sequence, int length) = rows[place / heads];
            double[] q = [.. query.AsSpan(place * (Latent + Rope), Latent + Rope).ToArray().Select(v => (double)BFloat16.ToSingle(v))];
            double[][] slots = [.. Enumerable.Range(0, length).Select(t => cache.Slot(sequence, t))];
            double[] scores = [.. slots.Select(s => s.Zip(q, (a, b) => a * b).Sum())];
            double total = scores.Sum(s => Math.Pow(2, s - scores.Max()));
            var expected = new double[Latent];
            for (int t = 0; t < length; t++)
            {
                double weight = Math.Pow(2, scores[t] - scores.Max()) / total;
                for (int c = 0; c < Latent; c++)
                {
                    expected[c] += weight * slots[t][c];
                }
            }

            double largest = expected.Max(Math.Abs);
            for (int c = 0; c < Latent; c++)
            {
                KernelHarness.AssertClose(expected[c], actual[place][c], Tolerance * largest, $"{heads} heads, row {place / heads} of length {length}, head {place % heads}, column {c}");
            }
        }
    }

    private static (int Sequence, int Length)[] Rows((int Start, int Count)[] sequences) =>
        [.. sequences.SelectMany((s, i) => Enumerable.Range(1, s.Count).Select(n => (i, s.Start + n)))];

    private static ushort[] Query(int count) => [.. KernelHarness.Random(count * (Latent + Rope), seed: 9).Select(v => BFloat16.FromSingle(v / 4))];

    /// <summary>(rows heads) of (latent), both parts together, columns in their order.</summary>
    private static double[][] Attend(KernelHarness harness, PagedCache cache, (int Start, int Count)[] sequences, int heads, ushort[] query, DeviceFormat format)
    {
        (int Sequence, int Length)[] rows = Rows(sequences);
        ulong attended = harness.New<ushort>(rows.Length * 2 * heads * Latent);
        harness.Kernels.AttendRows(harness.Stream, cache.Format, rows.Length, new AttendRowsArguments
        {
            Cache = cache.Arguments with
            {
                Lengths = harness.Put<int>([.. rows.Select(r => r.Length)]),
                Tables = harness.Put<int>([.. rows.Select(r => cache.Tables[r.Sequence])]),
            },
            Absorbed = harness.Put<ushort>(query),
            Attended = attended,
            Heads = (uint)heads,
            ForBytes = KernelSet.ForBytes(format),
        });
        ushort[] parts = harness.Get<ushort>(attended, rows.Length * 2 * heads * Latent);
        var result = new double[rows.Length * heads][];
        for (int place = 0; place < result.Length; place++)
        {
            result[place] = new double[Latent];
            int high = ((place / heads * 2 * heads) + (place % heads)) * Latent;
            for (int c = 0; c < Latent; c++)
            {
                result[place][GemmTests.Column(c, format)] = BFloat16.ToSingle(parts[high + c]) + (double)BFloat16.ToSingle(parts[high + (heads * Latent) + c]);
            }
        }

        return result;
    }
}
