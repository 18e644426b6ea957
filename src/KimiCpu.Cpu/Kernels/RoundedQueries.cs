// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Keys and values in BF16, as they are stored, where the CPU multiplies them; queries and e^(score - maximum) are rounded to BF16.</summary>
internal sealed unsafe class RoundedQueries : AttentionQueries
{
    private readonly RunningSoftmax _softmax;
    private readonly BFloat16Products _products;
    private readonly BFloat16Tiles _queries;
    private readonly AlignedBuffer<float> _stored;
    private readonly BFloat16Pairs _values = new();
    private readonly AlignedBuffer<ushort> _roundedScores = new(LatentAttention.MostQueries * KvPage.Tokens);

    public RoundedQueries(int keyWidth, int valueWidth, BFloat16Products products)
        : base(keyWidth, valueWidth)
    {
        _softmax = new RunningSoftmax(ValueWidth, (ValueWidth + BFloat16PairsCode.Columns - 1) / BFloat16PairsCode.Columns * BFloat16PairsCode.Columns);
        _products = products;
        _queries = new BFloat16Tiles(products.Tiles);
        _stored = new AlignedBuffer<float>(LatentAttention.MostQueries * KeyWidth);
    }

    public override void Clear() => _softmax.Clear(Count);

    /// <summary>Tokens that a row does not see weigh zero, so that all rows take the page at once.</summary>
    public override void Visit(in KeyValuePage page, int count, int visible, byte* next)
    {
        var keys = new WeightMatrix(WeightFormat.BFloat16, count, KeyWidth, page.Keys);
        _products.Multiply(keys, 0, count, _queries, _softmax.Scores(0), KvPage.Tokens);
        for (int query = 0; query < Count; query++)
        {
            int seen = SeenBy(query, count, visible);
            ushort* rounded = _roundedScores.Pointer + (query * KvPage.Tokens);
            if (seen > 0)
            {
                _softmax.Rescale(query, seen);
                BFloat16Rounding.Round(_softmax.Scores(query), seen, rounded);
            }

            new Span<ushort>(rounded + seen, KvPage.Tokens - seen).Clear();
        }

        _values.Set(page.Values, page.ValueBytes, count, ValueWidth, next: page.Values);
        _products.Accumulate(_values, _roundedScores.Pointer, Count, _softmax.Context(0), _softmax.ContextWidth);
    }

    public override void Write(int query, float* part) => _softmax.Write(query, part);

    public override void Dispose()
    {
        _softmax.Dispose();
        _queries.Dispose();
        _stored.Dispose();
        _values.Dispose();
        _roundedScores.Dispose();
    }

    protected override void Take(float* query, long stride)
    {
        Copy(query, stride, _stored.Pointer);
        _queries.Set(_stored.Pointer, KeyWidth, Count, KeyWidth);
    }
}
