// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Tests.Cpu;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Attention of many rows of a sequence over expanded keys and values, and their expansion, against double precision.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class ExpandedAttentionTests
{
    private static readonly (WeightFormat Stored, DeviceFormat Device)[] s_formats =
    [
        (WeightFormat.BFloat16, DeviceFormat.BFloat16), (WeightFormat.Float8Block, DeviceFormat.Float8), (WeightFormat.BFloat16, DeviceFormat.Int8),
    ];

    /// <summary>Latents of one to several tiles of columns; tokens of one or several tiles of rows, from the beginning or behind it.</summary>
    [Test]
    public void Keys_and_values_are_expanded([Values] CacheFormat cached, [ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format)
    {
        using var harness = new KernelHarness();
        foreach ((int latent, int rows, int first, int tokens) in new[] { (32, 2, 0, 1), (160, 130, 64, 9), (544, 40, 0, 67), (64, 256, 128, 2) })
        {
            CheckExpansion(harness, cached, format, latent, rows, first, tokens);
        }
    }

    /// <summary>Whole prompts, parts behind what is cached, several blocks of 128 queries; ends at a tile, a page, and beside them; blocks of the past of one to all tiles.</summary>
    [Test]
    public void Rows_see_their_sequence_up_to_themselves([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format)
    {
        using var harness = new KernelHarness();
        Check(harness, CacheFormat.BFloat16, [(0, 3)], 2, 64, format, 64);
        Check(harness, CacheFormat.BFloat16, [(30, 4), (0, 1), (62, 20)], 1, 160, format, 2048);
        Check(harness, CacheFormat.BFloat16, [(127, 2), (190, 131)], 1, 64, format, 128);
    }

    /// <summary>Their rotated keys lie elsewhere on a page.</summary>
    [Test]
    public void Rows_see_a_cache_in_8_bits()
    {
        using var harness = new KernelHarness();
        Check(harness, CacheFormat.Int8, [(30, 4), (0, 1), (62, 20)], 1, 160, s_formats[0], 2048);
        Check(harness, CacheFormat.Int8, [(127, 2), (60, 20)], 2, 64, s_formats[2], 64);
    }

    /// <summary>What a row carries from block to block is exact, and it does not depend on the rows beside it.</summary>
    [Test]
    public void Blocks_of_the_past_and_parts_of_the_prompt_change_no_bit()
    {
        using var harness = new KernelHarness();
        using var run = new Run(harness, CacheFormat.BFloat16, s_formats[0], 2, 64, [210]);
        float[] whole = run.Attend(0, 70, 140, 64);
        Assert.That(run.Attend(0, 70, 140, 128), Is.EqualTo(whole));
        Assert.That(run.Attend(0, 70, 140, 2048), Is.EqualTo(whole));
        foreach (int cut in new[] { 1, 57, 129 })
        {
            Assert.That(run.Attend(0, 70, cut, 64), Is.EqualTo(whole[..(cut * 2 * Run.Value)]), $"the first {cut}");
            Assert.That(run.Attend(0, 70 + cut, 140 - cut, 128), Is.EqualTo(whole[(cut * 2 * Run.Value)..]), $"all but {cut}");
        }
    }

    [Test]
    public void A_NaN_reaches_no_earlier_row()
    {
        using var harness = new KernelHarness();
        using var sound = new Run(harness, CacheFormat.BFloat16, s_formats[0], 1, 32, [90]);
        using var run = new Run(harness, CacheFormat.BFloat16, s_formats[0], 1, 32, [90]);
        run.Cache.Poison(0, 75);
        float[] expected = sound.Attend(0, 40, 50, 64);
        float[] actual = run.Attend(0, 40, 50, 64);
        for (int row = 0; row < 50; row++)
        {
            Range values = (row * Run.Value)..((row + 1) * Run.Value);
            Assert.That(actual[values], row < 35 ? Is.EqualTo(expected[values]) : Is.All.NaN, $"row {row}");
        }
    }

    /// <summary>Values alone, which a weight of zero does not keep away from rows that do not see them: of a token that all rows see, some, and none.</summary>
    [TestCase(0x7FC0, 3)]
    [TestCase(0xFF80, 50)]
    [TestCase(0x7F80, 77)]
    public void A_value_that_is_not_finite_reaches_the_rows_that_see_it(int value, int token)
    {
        const int Column = 11;
        using var harness = new KernelHarness();
        using var run = new Run(harness, CacheFormat.BFloat16, s_formats[0], 1, 32, [90]);
        float[] expected = run.Attend(0, 40, 38, 2048);
        run.Change = expanded => expanded[(token * Run.Expanded) + Run.Nope + Column] = (ushort)value;
        float[] actual = run.Attend(0, 40, 38, 2048);
        for (int i = 0; i < actual.Length; i++)
        {
            bool seen = i % Run.Value == Column && token < 41 + (i / Run.Value);
            Assert.That(actual[i], seen ? Is.NaN.Or.EqualTo(float.NegativeInfinity) : Is.EqualTo(expected[i]), $"row {i / Run.Value}, column {i % Run.Value}");
        }
    }

    internal static void CheckExpansion(KernelHarness harness, CacheFormat cached, (WeightFormat Stored, DeviceFormat Device) format, int latent, int rows, int first, int tokens)
    {
        using var matrix = new RandomMatrix(format.Stored, rows, latent, seed: latent, block: 32);
        DeviceWeight weight = harness.Put(matrix.Matrix, format.Device);
        var cache = new PagedCache(harness, cached, [9, first + tokens], latent, Run.Rope);
        ushort[] actual = harness.Get<ushort>(Run.Expand(harness, cached, weight, Run.Of(cache, 1), first, tokens), tokens * rows);
        double[][] w = KernelHarness.Decode(weight);
        for (int i = 0; i < actual.Length; i++)
        {
            double[] slot = Run.Gathered(cache, 1, first + (i / rows));
            double[] products = [.. w[i % rows].Select((v, c) => v * slot[c])];
            double expected = products.Sum();
            KernelHarness.AssertClose(expected, BFloat16.ToSingle(actual[i]), (Math.Abs(expected) / 256) + (LinearTests.TensorTolerance * products.Sum(Math.Abs)), $"{cached}, {format}, latent {latent}, token {first + (i / rows)}, output {i % rows}");
        }
    }

    internal static void Check(KernelHarness harness, CacheFormat cached, (int Start, int Count)[] sequences, int heads, int latent, (WeightFormat Stored, DeviceFormat Device) format, int block)
    {
        using var run = new Run(harness, cached, format, heads, latent, [.. sequences.Select(s => s.Start + s.Count)]);
        for (int sequence = 0; sequence < sequences.Length; sequence++)
        {
            (int start, int count) = sequences[sequence];
            float[] actual = run.Attend(sequence, start, count, block);
            (double[] Key, double[] Value)[][] expanded = [.. Enumerable.Range(0, heads).Select(h => Enumerable.Range(0, start + count).Select(t => run.Expanded64(sequence, t, h)).ToArray())];
            for (int place = 0; place < count * heads; place++)
            {
                (int row, int head) = (place / heads, place % heads);
                ReadOnlySpan<float> q = run.Query(start + row, head);
                var scores = new double[start + row + 1];
                for (int t = 0; t < scores.Length; t++)
                {
                    for (int i = 0; i < q.Length; i++)
                    {
                        scores[t] += q[i] * expanded[head][t].Key[i] * Run.Scale;
                    }
                }

                double total = scores.Sum(s => Math.Pow(2, s - scores.Max()));
                var expected = new double[Run.Value];
                for (int t = 0; t < scores.Length; t++)
                {
                    double weight = Math.Pow(2, scores[t] - scores.Max()) / total;
                    for (int c = 0; c < Run.Value; c++)
                    {
                        expected[c] += weight * expanded[head][t].Value[c];
                    }
                }

                double largest = expected.Max(Math.Abs);
                for (int c = 0; c < Run.Value; c++)
                {
                    KernelHarness.AssertClose(expected[c], actual[(place * Run.Value) + c], 2.5e-2 * largest, $"{format}, start {start}, row {row}, head {head}, column {c}");
                }
            }
        }
    }

    /// <summary>Random sequences, queries and a weight, each buffer with an allocation of its own.</summary>
    private sealed class Run : IDisposable
    {
        public const int Nope = 128;
        public const int Rope = 64;
        public const int Value = 128;
        public const int Expanded = Nope + Value;

        /// <summary>Small enough that scores spread over a few powers of two.</summary>
        public const float Scale = 0.1f;

        private readonly KernelHarness _harness;
        private readonly int _heads;
        private readonly int _latent;
        private readonly RandomMatrix _matrix;
        private readonly DeviceWeight _weight;
        private readonly double[][] _decoded;
        private readonly float[] _query;

        public Run(KernelHarness harness, CacheFormat cached, (WeightFormat Stored, DeviceFormat Device) format, int heads, int latent, int[] lengths)
        {
            (_harness, _heads, _latent) = (harness, heads, latent);
            _matrix = new RandomMatrix(format.Stored, heads * Expanded, latent, seed: 3, block: 32);
            _weight = harness.Put(_matrix.Matrix, format.Device);
            _decoded = KernelHarness.Decode(_weight);
            Cache = new PagedCache(harness, cached, lengths, latent, Rope);
            _query = KernelHarness.Random(lengths.Max() * heads * (Nope + Rope), seed: 4);
        }

        public PagedCache Cache { get; }

        /// <summary>Changes keys and values of a block before they are attended to.</summary>
        public Action<ushort[]>? Change { get; set; }

        /// <summary>Of a token at a position: whichever rows are computed with it, its query is the same.</summary>
        public ReadOnlySpan<float> Query(int position, int head) => _query.AsSpan(((position * _heads) + head) * (Nope + Rope), Nope + Rope);

        /// <summary>Key and value of a token for a head.</summary>
        public (double[] Key, double[] Value) Expanded64(int sequence, int token, int head)
        {
            double[] slot = Gathered(Cache, sequence, token);
            double[] all = [.. Enumerable.Range(head * Expanded, Expanded).Select(r => _decoded[r].Select((w, c) => w * slot[c]).Sum())];
            return ([.. all[..Nope], .. slot[_latent..]], all[Nope..]);
        }

        /// <summary>(count, heads, value) of tokens from a start on, over blocks of the past.</summary>
        public float[] Attend(int sequence, int start, int count, int block)
        {
            CacheArguments cache = Of(Cache, sequence) with
            {
                Lengths = _harness.Put<int>([.. Enumerable.Range(start + 1, count)]),
                Tables = _harness.Put<int>([.. Enumerable.Repeat(Cache.Tables[sequence], count)]),
            };
            ulong values = _harness.New<float>(count * _heads * Value);
            ulong state = _harness.New<float>(count * _heads * 2);
            ulong query = _harness.Put<float>(_query.AsSpan(start * _heads * (Nope + Rope), count * _heads * (Nope + Rope)));
            for (int begin = 0; begin < start + count; begin += block)
            {
                int tokens = Math.Min(block, start + count - begin);
                ulong expanded = Expand(_harness, Cache.Format, _weight, cache, begin, tokens);
                if (Change is not null)
                {
                    ushort[] changed = _harness.Get<ushort>(expanded, tokens * _heads * Expanded);
                    Change(changed);
                    expanded = _harness.Put<ushort>(changed);
                }

                _harness.Kernels.AttendExpanded(_harness.Stream, Cache.Format, new AttendExpandedArguments
                {
                    Cache = cache,
                    Expanded = expanded,
                    Query = query,
                    Values = values,
                    State = state,
                    Heads = (uint)_heads,
                    Batch = (uint)count,
                    Begin = (uint)begin,
                    End = (uint)(begin + tokens),
                    Scale = Scale,
                });
            }

            return _harness.Get<float>(values, count * _heads * Value);
        }

        /// <summary>A token's values as they are expanded: latents in 8 bits are rounded to BF16 first.</summary>
        public static double[] Gathered(PagedCache cache, int sequence, int token) => [.. cache.Slot(sequence, token).Select(v => (double)BFloat16.ToSingle(BFloat16.FromSingle((float)v)))];

        /// <summary>The cache as rows of one sequence see it.</summary>
        public static CacheArguments Of(PagedCache cache, int sequence) => cache.Arguments with { Tables = cache.Arguments.Tables + (ulong)(sequence * sizeof(uint)) };

        /// <summary>Where (tokens, rows of the weight) BF16 are.</summary>
        public static ulong Expand(KernelHarness harness, CacheFormat cached, DeviceWeight weight, in CacheArguments cache, int first, int tokens)
        {
            int rows = (int)weight.Matrix.Rows;
            int latent = (int)weight.Matrix.Columns;
            ulong latents = harness.New<ushort>(tokens * latent);
            ulong expanded = harness.New<ushort>(tokens * rows);
            harness.Kernels.GatherLatents(harness.Stream, cached, new GatherArguments { Cache = cache, Latents = latents, First = (uint)first, Tokens = (uint)tokens, ForBytes = KernelSet.ForBytes(weight.Format) });
            harness.Kernels.GemmLatents(harness.Stream, weight.Format, new GemmArguments { First = weight.Matrix, FirstOutput = expanded, Input = latents, Batch = (uint)tokens, Stride = (uint)latent, Heads = 1, HeadRows = (uint)rows });
            return expanded;
        }

        public void Dispose() => _matrix.Dispose();
    }
}
