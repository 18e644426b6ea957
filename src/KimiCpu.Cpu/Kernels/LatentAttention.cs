// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// One token's attention over the cached latents, for a few heads at a time, with the key and value expansions absorbed
/// (DeepSeek-V2, arXiv:2405.04434, section 2.1.2): the query lies in the latent space, a cached token is key (all of it)
/// and value (its latent part) at once. Pages are visited in order with a running softmax, so a result depends on the
/// token's own history only, never on what else is in the batch. One instance a thread; it keeps scratch memory.
/// </summary>
internal sealed unsafe class LatentAttention : IDisposable
{
    /// <summary>Heads that pass over a page together, so that a cached value is loaded once for all of them.</summary>
    public const int HeadGroup = 8;

    private readonly int _latentSize;
    private readonly int _width;
    private readonly bool _bfloat16;
    private readonly AlignedBuffer<float> _scores = new(HeadGroup * KvPage.Tokens);
    private readonly float[] _maxima = new float[HeadGroup];
    private readonly float[] _sums = new float[HeadGroup];

    /// <param name="shape">Sizes.</param>
    /// <param name="bfloat16">Whether the cache holds BF16; else F32.</param>
    public LatentAttention(ModelShape shape, bool bfloat16)
    {
        _latentSize = shape.KeyValueLoraRank;
        _width = shape.CacheWidth;
        _bfloat16 = bfloat16;
    }

    /// <summary>Attends over tokens 0 … <paramref name="visible"/> - 1.</summary>
    /// <param name="query">(heads, kv_lora + rope): absorbed query, then rotated part, both times the softmax scale.</param>
    /// <param name="heads">1 … <see cref="HeadGroup"/>.</param>
    /// <param name="pages">Storage of the cache.</param>
    /// <param name="layer">Which layer's slots.</param>
    /// <param name="table">The sequence's pages.</param>
    /// <param name="visible">At least 1.</param>
    /// <param name="context">(heads, kv_lora) receives the weighted mean of the latents.</param>
    public void Attend(float* query, int heads, KvPages pages, int layer, ReadOnlySpan<int> table, int visible, float* context)
    {
        new Span<float>(context, heads * _latentSize).Clear();
        _maxima.AsSpan().Fill(float.NegativeInfinity);
        _sums.AsSpan().Clear();
        for (int first = 0; first < visible; first += KvPage.Tokens)
        {
            int count = Math.Min(KvPage.Tokens, visible - first);
            byte* tile = pages.Slots(table[first / KvPage.Tokens], layer);
            var keys = new WeightMatrix(_bfloat16 ? WeightFormat.BFloat16 : WeightFormat.Float32, count, _width, tile);
            FloatGemv.Multiply(keys, 0, count, query, _width, heads, _scores.Pointer, KvPage.Tokens);
            for (int h = 0; h < heads; h++)
            {
                Rescale(h, count, context + (h * _latentSize));
            }

            Accumulate(tile, count, heads, context);
        }

        for (int h = 0; h < heads; h++)
        {
            var row = new Span<float>(context + (h * _latentSize), _latentSize);
            TensorPrimitives.Multiply(row, 1 / _sums[h], row);
        }
    }

    public void Dispose() => _scores.Dispose();

    /// <summary>Turns a page's scores into e^(score - maximum), and what was summed before to the new maximum.</summary>
    private void Rescale(int head, int count, float* context)
    {
        var scores = new Span<float>(_scores.Pointer + (head * KvPage.Tokens), count);

        // TensorPrimitives.Max returns NaN if there is one, which then reaches the result.
        float maximum = MathF.Max(_maxima[head], TensorPrimitives.Max(scores));
        if (maximum != _maxima[head])
        {
            float factor = MathF.Exp(_maxima[head] - maximum);
            _sums[head] *= factor;
            var row = new Span<float>(context, _latentSize);
            TensorPrimitives.Multiply(row, factor, row);
            _maxima[head] = maximum;
        }

        TensorPrimitives.Subtract(scores, maximum, scores);
        TensorPrimitives.Exp(scores, scores);
        _sums[head] += TensorPrimitives.Sum(scores);
    }

    private void Accumulate(byte* tile, int count, int heads, float* context)
    {
        switch (CpuFeatures.Best, _bfloat16)
        {
            case (InstructionSet.Avx512, true):
                Accumulate<Lanes512, BFloat16Row<Lanes512>>(tile, 2 * _width, count, heads, context);
                break;
            case (InstructionSet.Avx512, false):
                Accumulate<Lanes512, Float32Row<Lanes512>>(tile, 4 * _width, count, heads, context);
                break;
            case (InstructionSet.Avx2, true):
                Accumulate<Lanes256, BFloat16Row<Lanes256>>(tile, 2 * _width, count, heads, context);
                break;
            case (InstructionSet.Avx2, false):
                Accumulate<Lanes256, Float32Row<Lanes256>>(tile, 4 * _width, count, heads, context);
                break;
            case (InstructionSet.Vector128, true):
                Accumulate<Lanes128, BFloat16Row<Lanes128>>(tile, 2 * _width, count, heads, context);
                break;
            case (InstructionSet.Vector128, false):
                Accumulate<Lanes128, Float32Row<Lanes128>>(tile, 4 * _width, count, heads, context);
                break;
            case (_, true):
                Accumulate<LanesScalar, BFloat16Row<LanesScalar>>(tile, 2 * _width, count, heads, context);
                break;
            default:
                Accumulate<LanesScalar, Float32Row<LanesScalar>>(tile, 4 * _width, count, heads, context);
                break;
        }
    }

    /// <summary>context[h] += Σ probability[h, s] latent[s], for four heads at a time and a vector of columns in registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Accumulate<TLanes, TRow>(byte* tile, int slotBytes, int count, int heads, float* context)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        int h = 0;
        for (; h + 4 <= heads; h += 4)
        {
            float* p0 = _scores.Pointer + (h * KvPage.Tokens);
            float* p1 = p0 + KvPage.Tokens;
            float* p2 = p1 + KvPage.Tokens;
            float* p3 = p2 + KvPage.Tokens;
            float* y0 = context + (h * _latentSize);
            float* y1 = y0 + _latentSize;
            float* y2 = y1 + _latentSize;
            float* y3 = y2 + _latentSize;
            int c = 0;
            for (; c + TLanes.Count <= _latentSize; c += TLanes.Count)
            {
                TLanes a0 = TLanes.Load(y0 + c);
                TLanes a1 = TLanes.Load(y1 + c);
                TLanes a2 = TLanes.Load(y2 + c);
                TLanes a3 = TLanes.Load(y3 + c);
                for (int s = 0; s < count; s++)
                {
                    TLanes value = TRow.Load(tile + (s * slotBytes), c);
                    a0 = TLanes.MultiplyAdd(TLanes.Broadcast(p0[s]), value, a0);
                    a1 = TLanes.MultiplyAdd(TLanes.Broadcast(p1[s]), value, a1);
                    a2 = TLanes.MultiplyAdd(TLanes.Broadcast(p2[s]), value, a2);
                    a3 = TLanes.MultiplyAdd(TLanes.Broadcast(p3[s]), value, a3);
                }

                TLanes.Store(a0, y0 + c);
                TLanes.Store(a1, y1 + c);
                TLanes.Store(a2, y2 + c);
                TLanes.Store(a3, y3 + c);
            }

            for (int i = 0; i < 4; i++)
            {
                AccumulateTail<TLanes, TRow>(tile, slotBytes, count, p0 + (i * KvPage.Tokens), c, y0 + (i * _latentSize));
            }
        }

        for (; h < heads; h++)
        {
            float* p = _scores.Pointer + (h * KvPage.Tokens);
            float* y = context + (h * _latentSize);
            int c = 0;
            for (; c + TLanes.Count <= _latentSize; c += TLanes.Count)
            {
                TLanes a = TLanes.Load(y + c);
                for (int s = 0; s < count; s++)
                {
                    a = TLanes.MultiplyAdd(TLanes.Broadcast(p[s]), TRow.Load(tile + (s * slotBytes), c), a);
                }

                TLanes.Store(a, y + c);
            }

            AccumulateTail<TLanes, TRow>(tile, slotBytes, count, p, c, y);
        }
    }

    /// <summary>The columns from <paramref name="c"/> on that do not fill a vector.</summary>
    private void AccumulateTail<TLanes, TRow>(byte* tile, int slotBytes, int count, float* probabilities, int c, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        for (; c < _latentSize; c++)
        {
            for (int s = 0; s < count; s++)
            {
                y[c] += probabilities[s] * TRow.Element(tile + (s * slotBytes), c);
            }
        }
    }
}
