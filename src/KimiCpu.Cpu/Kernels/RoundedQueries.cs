// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Keys and values in BF16, as they are stored, where the CPU multiplies them; queries and e^(score - maximum) are rounded to BF16. Queries
/// lie side by side in the lanes of vectors, so that scores need no folding and 16 queries are exponentiated at a time.
/// </summary>
internal sealed unsafe class RoundedQueries : AttentionQueries
{
    private const int VectorLanes = BFloat16ScoresCode.VectorLanes;

    /// <summary>From the scores of a token to those of the next one.</summary>
    private const int Stride = BFloat16ScoresCode.Lanes;

    private readonly BFloat16Products _products;
    private readonly BFloat16Queries _queries;
    private readonly BFloat16Pairs _values = new();
    private readonly int _contextWidth;

    /// <summary>(page's tokens, lanes).</summary>
    private readonly AlignedBuffer<float> _scores = new(KvPage.Tokens * Stride);

    /// <summary>(pairs of the page's tokens, lanes, 2).</summary>
    private readonly AlignedBuffer<ushort> _weights = new(KvPage.Tokens * Stride);

    /// <summary>(queries, value's columns with the padding that their products have).</summary>
    private readonly AlignedBuffer<float> _contexts;
    private readonly AlignedBuffer<float> _maxima = new(Stride);
    private readonly AlignedBuffer<float> _sums = new(Stride);
    private readonly AlignedBuffer<int> _seen = new(Stride);

    public RoundedQueries(int keyWidth, int valueWidth, BFloat16Products products)
        : base(keyWidth, valueWidth)
    {
        System.Diagnostics.Debug.Assert(Stride == LatentAttention.MostQueries, "Each query has a lane.");
        _products = products;
        _queries = new BFloat16Queries(keyWidth);
        _contextWidth = (valueWidth + BFloat16PairsCode.Columns - 1) / BFloat16PairsCode.Columns * BFloat16PairsCode.Columns;
        _contexts = new AlignedBuffer<float>((long)LatentAttention.MostQueries * _contextWidth);
    }

    /// <summary>Those of a vector.</summary>
    public override int Lanes => VectorLanes;

    public override void Clear()
    {
        new Span<float>(_contexts.Pointer, Count * _contextWidth).Clear();
        new Span<float>(_maxima.Pointer, Stride).Fill(float.NegativeInfinity);
        new Span<float>(_sums.Pointer, Stride).Clear();
    }

    /// <summary>Tokens that a row does not see weigh zero, so that all rows take the page at once.</summary>
    public override void Visit(in KeyValuePage page, int count, int visible, byte* next)
    {
        _products.Score(new WeightMatrix(WeightFormat.BFloat16, count, KeyWidth, page.Keys), _queries, _scores.Pointer);
        bool all = visible >= count;
        for (int query = 0; query < Stride && !all; query++)
        {
            _seen.Pointer[query] = SeenBy(query, count, visible);
        }

        for (int lane = 0; lane < _queries.Vectors * VectorLanes; lane += VectorLanes)
        {
            if (all)
            {
                Rescale<AllSeen>(lane, count);
            }
            else
            {
                Rescale<SomeSeen>(lane, count);
            }
        }

        _values.Set(page.Values, page.ValueBytes, count, ValueWidth, next: page.Values);
        long nextBytes = next is null ? 0 : KvPage.Tokens * sizeof(ushort) * (long)KeyWidth;
        _products.AccumulateLanes(_values, _weights.Pointer, Count, _contexts.Pointer, _contextWidth, next is null ? page.Values : next, nextBytes);
    }

    public override void Dispose()
    {
        _queries.Dispose();
        _values.Dispose();
        _scores.Dispose();
        _weights.Dispose();
        _contexts.Dispose();
        _maxima.Dispose();
        _sums.Dispose();
        _seen.Dispose();
    }

    protected override void Take(float* query, long stride) => _queries.Set(query, stride, Heads, Count);

    protected override float* Values(int query) => _contexts.Pointer + (query * _contextWidth);

    protected override float Maximum(int query) => _maxima.Pointer[query];

    protected override float Sum(int query) => _sums.Pointer[query];

    /// <summary>Turns scores of 16 queries into weights, e^(score - maximum), and what they gathered before to the new maximum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Rescale<TSeen>(int lane, int count)
        where TSeen : ISeen
    {
        float* scores = _scores.Pointer + lane;
        Vector512<int> seen = TSeen.All ? default : Vector512.Load(_seen.Pointer + lane);
        Vector512<float> before = Vector512.Load(_maxima.Pointer + lane);
        Vector512<float> maximum = before;
        for (int t = 0; t < count; t++)
        {
            Vector512<float> score = Vector512.Load(scores + (t * Stride));
            if (!TSeen.All)
            {
                score = Vector512.ConditionalSelect(Vector512.LessThan(Vector512.Create(t), seen).AsSingle(), score, Vector512.Create(float.NegativeInfinity));
            }

            // A NaN may get lost here, but not below, where it is its own exponential and reaches the sum.
            maximum = Avx512F.Max(score, maximum);
        }

        Vector512<float> sum = Vector512.Load(_sums.Pointer + lane);
        if (!Vector512.EqualsAll(maximum, before))
        {
            Vector512<float> factor = Vector512.ConditionalSelect(Vector512.Equals(maximum, before), Vector512<float>.One, Exponential.Of(before - maximum));
            sum *= factor;
            maximum.Store(_maxima.Pointer + lane);
            for (int i = lane; i < Math.Min(lane + VectorLanes, Count); i++)
            {
                // On a segment's first page nothing is there to scale.
                if (_sums.Pointer[i] != 0)
                {
                    Scale(Values(i), factor[i - lane]);
                }
            }
        }

        for (int t = 0; t < count; t += 2)
        {
            Vector512<uint> first = Weight<TSeen>(scores, t, seen, maximum, ref sum);
            Vector512<uint> second = t + 1 < count ? Weight<TSeen>(scores, t + 1, seen, maximum, ref sum) : default;
            ((first >> 16) | (second & Vector512.Create(0xFFFF0000u))).Store((uint*)_weights.Pointer + (t / 2 * Stride) + lane);
        }

        sum.Store(_sums.Pointer + lane);
    }

    /// <summary>A token's weights, which are added to the sum; rounded to BF16 in the upper halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Weight<TSeen>(float* scores, int token, Vector512<int> seen, Vector512<float> maximum, ref Vector512<float> sum)
        where TSeen : ISeen
    {
        Vector512<float> weight = Exponential.Of(Vector512.Load(scores + (token * Stride)) - maximum);
        if (!TSeen.All)
        {
            weight = Vector512.ConditionalSelect(Vector512.LessThan(Vector512.Create(token), seen).AsSingle(), weight, Vector512<float>.Zero);
        }

        sum += weight;
        return BFloat16Rounding.UpperHalves(weight);
    }

    private void Scale(float* context, float factor)
    {
        if (factor == 1)
        {
            return;
        }

        Vector512<float> factors = Vector512.Create(factor);
        for (int c = 0; c < _contextWidth; c += VectorLanes)
        {
            (Vector512.Load(context + c) * factors).Store(context + c);
        }
    }

    /// <summary>Whether every query sees all of a page.</summary>
    private interface ISeen
    {
        static abstract bool All { get; }
    }

    private readonly struct AllSeen : ISeen
    {
        public static bool All => true;
    }

    private readonly struct SomeSeen : ISeen
    {
        public static bool All => false;
    }
}
