// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.Kernels;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class QueryLanesTests
{
    /// <summary>How keys and values come.</summary>
    public enum Source
    {
        /// <summary>BF16, values being the first columns of keys.</summary>
        Latents,

        /// <summary>BF16, values by themselves.</summary>
        BFloat16,

        /// <summary>F32, values by themselves.</summary>
        Float32,
    }

    private static IEnumerable<InstructionSet> Sets => CpuFeatures.Supported;

    /// <summary>Pages of which rows see ever more, and one that the first rows do not see at all; memory ends right behind each.</summary>
    [Test]
    public void Rows_gather_the_softmax_of_what_they_see(
        [ValueSource(nameof(Sets))] InstructionSet set, [Values] Source source, [Values(1, 7, 30, 64)] int rows, [Values(1, 31, 64)] int lastTokens, [Values(1f, 40f)] float size)
    {
        (int keyWidth, int valueWidth) = rows == 7 ? (197, 131) : (96, 80);
        int stride = keyWidth + 3;
        float[] queries = Numbers(((rows - 1) * stride) + keyWidth, size, 1);
        float[][] keys = Rows(source, KvPage.Tokens + lastTokens, keyWidth, 2);
        float[][] values = source == Source.Latents ? keys : Rows(source, keys.Length, valueWidth, 3);
        int seenByFirst = keys.Length - rows + 1;
        using AttentionQueries attention = AttentionQueries.Of(set, keyWidth, valueWidth, source != Source.Float32);
        using (var guarded = new GuardedBuffer(sizeof(float) * queries.Length))
        {
            queries.CopyTo(new Span<float>(guarded.Pointer, queries.Length));
            attention.Set((float*)guarded.Pointer, stride, rows, 1);
        }

        attention.Clear();
        for (int first = 0; first < keys.Length; first += KvPage.Tokens)
        {
            int count = Math.Min(KvPage.Tokens, keys.Length - first);
            using GuardedBuffer keyBytes = Page(source, keys.AsSpan(first, count)), valueBytes = Page(source, values.AsSpan(first, count));
            byte* valuePointer = source == Source.Latents ? keyBytes.Pointer : valueBytes.Pointer;
            attention.Visit(new KeyValuePage(keyBytes.Pointer, valuePointer, valueBytes.Length / count), count, seenByFirst - first, null);
        }

        var part = new float[AttentionPart.Width(valueWidth)];
        var mean = new float[valueWidth];
        for (int row = 0; row < rows; row++)
        {
            fixed (float* p = part)
            fixed (float* m = mean)
            {
                attention.Write(row, p);
                AttentionPart.Mean(p, valueWidth, m);
            }

            double[] expected = Expected(queries.AsSpan(row * stride, keyWidth), keys, values, seenByFirst + row, valueWidth);
            Assert.That(mean, Is.EqualTo(expected).Within(3e-6 * (1 + size)), $"row {row}");
        }
    }

    /// <summary>Rows that see nothing of what was visited have gathered nothing, and adding that changes nothing.</summary>
    [Test]
    public void Rows_that_see_nothing_gather_nothing([ValueSource(nameof(Sets))] InstructionSet set)
    {
        const int Width = 16;
        float[] queries = Numbers(3 * Width, 1, 1);
        float[][] keys = Rows(Source.Float32, 1, Width, 2);
        using AttentionQueries attention = AttentionQueries.Of(set, Width, Width, bfloat16: false);
        using GuardedBuffer page = Page(Source.Float32, keys);
        var total = new float[AttentionPart.Width(Width)];
        var part = new float[total.Length];
        fixed (float* query = queries)
        fixed (float* t = total)
        fixed (float* p = part)
        {
            attention.Set(query, Width, 3, 1);
            attention.Clear();
            attention.Visit(new KeyValuePage(page.Pointer, page.Pointer, page.Length), 1, -1, null);
            attention.AddTo(2, isFirst: true, t);
            float[] before = [.. total];
            attention.AddTo(0, isFirst: false, t);
            attention.AddTo(1, isFirst: false, t);
            attention.Write(1, p);
            Assert.That(total, Is.EqualTo(before));
            Assert.That(part[..Width], Is.All.Zero);
            Assert.That(part[Width + 1], Is.Zero, "the sum of the weights");
            Assert.That(total[..Width], Is.EqualTo(keys[0]).Within(1e-7), "one token weighs all");
        }
    }

    /// <summary>A NaN in a key alone, or an infinite value, reaches the rows that see it; a NaN in a key none of those before.</summary>
    [Test]
    public void A_key_or_a_value_that_is_no_number_reaches_the_rows_that_see_it([ValueSource(nameof(Sets))] InstructionSet set, [Values] bool isKey)
    {
        const int Width = 16;
        const int Bad = 2;
        float[][] keys = Rows(Source.Float32, 4, Width, 2), values = Rows(Source.Float32, 4, Width, 3);
        if (isKey)
        {
            keys[Bad][5] = float.NaN;
        }
        else
        {
            values[Bad].AsSpan().Fill(float.PositiveInfinity);
        }

        using AttentionQueries attention = AttentionQueries.Of(set, Width, Width, bfloat16: false);
        using GuardedBuffer keyBytes = Page(Source.Float32, keys), valueBytes = Page(Source.Float32, values);
        float[] queries = Numbers(4 * Width, 1, 1);
        var part = new float[AttentionPart.Width(Width)];
        fixed (float* query = queries)
        fixed (float* p = part)
        {
            attention.Set(query, Width, 4, 1);
            attention.Clear();
            attention.Visit(new KeyValuePage(keyBytes.Pointer, valueBytes.Pointer, sizeof(float) * Width), 4, 1, null);
            for (int row = 0; row < 4; row++)
            {
                attention.Write(row, p);
                if (row >= Bad)
                {
                    Assert.That(part[..Width].Any(float.IsFinite), Is.False, $"row {row}");
                }
                else
                {
                    Assert.That(float.IsFinite(part[Width + 1]), Is.True, $"sum of the weights of row {row}");
                }
            }
        }
    }

    private static double[] Expected(ReadOnlySpan<float> query, float[][] keys, float[][] values, int seen, int valueWidth)
    {
        var scores = new double[seen];
        for (int t = 0; t < seen; t++)
        {
            for (int c = 0; c < query.Length; c++)
            {
                scores[t] += (double)query[c] * keys[t][c];
            }
        }

        ReferenceOps.Softmax(scores);
        return [.. Enumerable.Range(0, valueWidth).Select(c => scores.Select((s, t) => s * values[t][c]).Sum())];
    }

    private static float[] Numbers(int count, float size, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() - 0.5f) * size)];
    }

    /// <summary>As they are kept.</summary>
    private static float[][] Rows(Source source, int count, int columns, int seed) =>
        [.. Enumerable.Range(0, count).Select(t => Numbers(columns, 1, (seed * 1000) + t))
            .Select(row => source == Source.Float32 ? row : [.. row.Select(v => BFloat16.ToSingle(BFloat16.FromSingle(v)))])];

    private static GuardedBuffer Page(Source source, ReadOnlySpan<float[]> rows)
    {
        int columns = rows[0].Length;
        var buffer = new GuardedBuffer(rows.Length * columns * (source == Source.Float32 ? sizeof(float) : sizeof(ushort)));
        for (int i = 0; i < rows.Length * columns; i++)
        {
            float value = rows[i / columns][i % columns];
            if (source == Source.Float32)
            {
                ((float*)buffer.Pointer)[i] = value;
            }
            else
            {
                ((ushort*)buffer.Pointer)[i] = BFloat16.FromSingle(value);
            }
        }

        return buffer;
    }
}
