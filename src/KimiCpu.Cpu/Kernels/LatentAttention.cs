// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;
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

            TransposedGemm.Accumulate(keys, _latentSize, _scores.Pointer, KvPage.Tokens, heads, context, _latentSize);
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
}
