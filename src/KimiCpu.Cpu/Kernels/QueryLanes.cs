// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Keys and values in BF16 with AVX2, queries side by side in the lanes of vectors: an element of a key, widened in a register, meets up
/// to 32 queries, scores need no folding, and eight queries are exponentiated at a time. Every score and every element of a
/// context is one chain of multiply-adds, by rising column and by rising token.
/// </summary>
internal sealed unsafe partial class QueryLanes : AttentionQueries
{
    private const int Lanes = 8;

    /// <summary>Lanes of a vector block: four vectors, which with three keys take all registers.</summary>
    private const int MostLanes = 4 * Lanes;

    /// <summary>Columns of which a block's queries, 24 KB, stay in the first-level cache while a page's keys pass by.</summary>
    private const int ColumnPart = 192;

    /// <summary>Columns of values that are multiplied together: their even ones, then their odd ones, which is how contexts lie here.</summary>
    private const int Pair = 2 * Lanes;

    private const int MostContexts = 6;

    private const int CacheLine = 64;

    /// <summary>(blocks, columns, lanes of the block).</summary>
    private readonly AlignedBuffer<float> _queries;

    /// <summary>(page's tokens, lanes).</summary>
    private readonly AlignedBuffer<float> _scores = new(KvPage.Tokens * LatentAttention.MostQueries);

    /// <summary>(queries, value's columns).</summary>
    private readonly AlignedBuffer<float> _contexts;
    private readonly AlignedBuffer<float> _maxima = new(LatentAttention.MostQueries);
    private readonly AlignedBuffer<float> _sums = new(LatentAttention.MostQueries);
    private readonly AlignedBuffer<int> _seen = new(LatentAttention.MostQueries);

    /// <summary>Columns of whole pairs of vectors.</summary>
    private readonly int _whole;
    private int _lanes;

    public QueryLanes(int keyWidth, int valueWidth)
        : base(keyWidth, valueWidth)
    {
        _contexts = new AlignedBuffer<float>(LatentAttention.MostQueries * ValueWidth);
        _queries = new AlignedBuffer<float>(LatentAttention.MostQueries * KeyWidth);
        _whole = ValueWidth / Pair * Pair;
    }

    public override void Clear()
    {
        new Span<float>(_contexts.Pointer, Count * ValueWidth).Clear();
        new Span<float>(_maxima.Pointer, _lanes).Fill(float.NegativeInfinity);
        new Span<float>(_sums.Pointer, _lanes).Clear();
    }

    public override void Visit(in KeyValuePage page, int count, int visible, byte* next)
    {
        for (int query = 0; query < _lanes; query++)
        {
            _seen.Pointer[query] = query < Count ? SeenBy(query, count, visible) : count;
        }

        Score(page.Keys, count);
        for (int lane = 0; lane < _lanes; lane += Lanes)
        {
            Rescale(lane, count);
        }

        Accumulate(page, count, next);
    }

    public override void Write(int query, float* part)
    {
        float* context = _contexts.Pointer + (query * ValueWidth);
        for (int c = 0; c < _whole; c += Pair)
        {
            Vector256<float> even = Vector256.Load(context + c), odd = Vector256.Load(context + c + Lanes);
            Vector256<float> low = Avx.UnpackLow(even, odd), high = Avx.UnpackHigh(even, odd);
            Avx.Permute2x128(low, high, 0x20).Store(part + c);
            Avx.Permute2x128(low, high, 0x31).Store(part + c + Lanes);
        }

        new ReadOnlySpan<float>(context + _whole, ValueWidth - _whole).CopyTo(new Span<float>(part + _whole, ValueWidth - _whole));
        AttentionPart.SetSums(part, ValueWidth, _maxima.Pointer[query], _sums.Pointer[query]);
    }

    public override void Dispose()
    {
        _queries.Dispose();
        _scores.Dispose();
        _contexts.Dispose();
        _maxima.Dispose();
        _sums.Dispose();
        _seen.Dispose();
    }

    /// <summary>Lanes behind the last query are zeros.</summary>
    protected override void Take(float* query, long stride)
    {
        _lanes = (Count + Lanes - 1) / Lanes * Lanes;
        for (int lane = 0, block; lane < _lanes; lane += block)
        {
            block = BlockLanes(lane);
            for (int i = 0; i < block; i += Lanes)
            {
                TakeEight(query, stride, lane + i, _queries.Pointer + (lane * KeyWidth) + i, block);
            }
        }
    }

    /// <summary>Eight queries, eight columns of which at a time are transposed in registers.</summary>
    private void TakeEight(float* query, long stride, int lane, float* target, int block)
    {
        float** rows = stackalloc float*[Lanes];
        for (int i = 0; i < Lanes; i++)
        {
            int index = lane + i;
            rows[i] = index < Count ? query + (index / Heads * stride) + (index % Heads * KeyWidth) : null;
        }

        int whole = rows[Lanes - 1] is null ? 0 : KeyWidth / Lanes * Lanes;
        for (int c = 0; c < whole; c += Lanes)
        {
            Transpose(rows, c, target + (c * block), block);
        }

        for (int c = whole; c < KeyWidth; c++)
        {
            for (int i = 0; i < Lanes; i++)
            {
                target[(c * block) + i] = rows[i] is null ? 0 : rows[i][c];
            }
        }
    }

    /// <summary>Lanes of the block that begins with one.</summary>
    private int BlockLanes(int lane) => (_lanes - lane) switch
    {
        >= MostLanes => MostLanes,
        >= 2 * Lanes => 2 * Lanes,
        _ => Lanes,
    };

    /// <summary>Scores of all queries, visible or not.</summary>
    private void Score(byte* allKeys, int count)
    {
        long rowBytes = sizeof(ushort) * KeyWidth;
        for (int first = 0; first < KeyWidth; first += ColumnPart)
        {
            int columns = Math.Min(ColumnPart, KeyWidth - first);
            for (int lane = 0, block; lane < _lanes; lane += block)
            {
                block = BlockLanes(lane);
                float* queries = _queries.Pointer + (lane * KeyWidth) + (first * block);
                byte* keys = allKeys + (sizeof(ushort) * first);
                for (int t = 0, taken; t < count; t += taken)
                {
                    taken = Score(block, keys + (t * rowBytes), rowBytes, columns, count - t, queries, first > 0, _scores.Pointer + (t * _lanes) + lane, _lanes);
                }
            }
        }
    }

    /// <summary>Turns scores of eight queries into e^(score - maximum), and what they gathered before to the new maximum.</summary>
    private void Rescale(int lane, int count)
    {
        float* scores = _scores.Pointer + lane;
        Vector256<int> seen = Vector256.Load(_seen.Pointer + lane);
        bool all = Vector256.EqualsAll(seen, Vector256.Create(count));
        Vector256<float> before = Vector256.Load(_maxima.Pointer + lane);
        Vector256<float> maximum = before;
        for (int t = 0; t < count; t++)
        {
            Vector256<float> score = Vector256.Load(scores + (t * _lanes));
            if (!all)
            {
                score = Vector256.ConditionalSelect(Vector256.LessThan(Vector256.Create(t), seen).AsSingle(), score, Vector256.Create(float.NegativeInfinity));
            }

            // A NaN may get lost here, but not below, where it is its own exponential and reaches the sum.
            maximum = Avx.Max(score, maximum);
        }

        Vector256<float> sum = Vector256.Load(_sums.Pointer + lane);
        if (!Vector256.EqualsAll(maximum, before))
        {
            Vector256<float> factor = Vector256.ConditionalSelect(Vector256.Equals(maximum, before), Vector256<float>.One, Vector256.Exp(before - maximum));
            sum *= factor;
            maximum.Store(_maxima.Pointer + lane);
            for (int i = lane; i < Math.Min(lane + Lanes, Count); i++)
            {
                Scale(_contexts.Pointer + (i * ValueWidth), factor[i - lane]);
            }
        }

        for (int t = 0; t < count; t++)
        {
            Vector256<float> weight = Vector256.Exp(Vector256.Load(scores + (t * _lanes)) - maximum);
            if (!all)
            {
                weight = Vector256.ConditionalSelect(Vector256.LessThan(Vector256.Create(t), seen).AsSingle(), weight, Vector256<float>.Zero);
            }

            weight.Store(scores + (t * _lanes));
            sum += weight;
        }

        sum.Store(_sums.Pointer + lane);
    }

    private void Scale(float* context, float factor)
    {
        if (factor == 1)
        {
            return;
        }

        for (int c = 0; c < _whole; c += Lanes)
        {
            (Vector256.Load(context + c) * factor).Store(context + c);
        }

        for (int c = _whole; c < ValueWidth; c++)
        {
            context[c] *= factor;
        }
    }

    /// <summary>Meanwhile asks for the next page, which comes from memory, in equal parts.</summary>
    private void Accumulate(in KeyValuePage page, int count, byte* next)
    {
        long keyBytes = sizeof(ushort) * KeyWidth;
        byte* end = next is null ? null : next + (KvPage.Tokens * keyBytes);
        int tiles = Math.Max(1, new TokenTiles(MostContexts).Count(Count) * _whole / Pair);
        long bytesOfTile = ((KvPage.Tokens * keyBytes / CacheLine) + tiles - 1) / tiles * CacheLine;
        for (int query = 0, taken; query < Count; query += taken)
        {
            taken = new TokenTiles(MostContexts).Next(Count - query);
            float* weights = _scores.Pointer + query;
            float* contexts = _contexts.Pointer + (query * ValueWidth);
            for (int c = 0; c < _whole; c += Pair)
            {
                for (byte* stop = next + bytesOfTile; next < end && next < stop; next += CacheLine)
                {
                    Sse.Prefetch1(next);
                }

                Accumulate(taken, page.Values + (sizeof(ushort) * c), page.ValueBytes, count, weights, _lanes, contexts + c, ValueWidth);
            }

            for (int i = 0; i < taken; i++)
            {
                for (int c = _whole; c < ValueWidth; c++)
                {
                    float sum = contexts[(i * ValueWidth) + c];
                    for (int t = 0; t < count; t++)
                    {
                        sum = MathF.FusedMultiplyAdd(weights[(t * _lanes) + i], BFloat16.ToSingle(((ushort*)(page.Values + (t * page.ValueBytes)))[c]), sum);
                    }

                    contexts[(i * ValueWidth) + c] = sum;
                }
            }
        }
    }
}
