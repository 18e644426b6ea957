// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Scores of a page, and Σ e^(score - maximum) value of the pages before it with a running maximum, a query at a time.</summary>
/// <param name="width">Columns of a context.</param>
internal sealed unsafe class RunningSoftmax(int width) : IDisposable
{
    private readonly AlignedBuffer<float> _scores = new(LatentAttention.MostQueries * KvPage.Tokens);
    private readonly AlignedBuffer<float> _contexts = new((long)LatentAttention.MostQueries * width);
    private readonly float[] _maxima = new float[LatentAttention.MostQueries];
    private readonly float[] _sums = new float[LatentAttention.MostQueries];

    /// <summary>(queries, page's tokens).</summary>
    public float* Scores(int query) => _scores.Pointer + (query * KvPage.Tokens);

    public float* Context(int query) => _contexts.Pointer + (query * width);

    public void Clear(int queries)
    {
        new Span<float>(_contexts.Pointer, queries * width).Clear();
        _maxima.AsSpan(0, queries).Fill(float.NegativeInfinity);
        _sums.AsSpan(0, queries).Clear();
    }

    /// <summary>Turns a query's first scores into e^(score - maximum), and what it gathered before to the new maximum.</summary>
    public void Rescale(int query, int count)
    {
        var scores = new Span<float>(Scores(query), count);

        // TensorPrimitives.Max returns NaN if there is one, which then reaches the result.
        float maximum = MathF.Max(_maxima[query], TensorPrimitives.Max(scores));
        if (maximum != _maxima[query])
        {
            float factor = MathF.Exp(_maxima[query] - maximum);
            _sums[query] *= factor;
            var row = new Span<float>(Context(query), width);
            TensorPrimitives.Multiply(row, factor, row);
            _maxima[query] = maximum;
        }

        TensorPrimitives.Subtract(scores, maximum, scores);
        TensorPrimitives.Exp(scores, scores);
        _sums[query] += TensorPrimitives.Sum(scores);
    }

    public void Write(int query, float* part)
    {
        new ReadOnlySpan<float>(Context(query), width).CopyTo(new Span<float>(part, width));
        AttentionPart.SetSums(part, width, _maxima[query], _sums[query]);
    }

    public void Dispose()
    {
        _scores.Dispose();
        _contexts.Dispose();
    }
}
