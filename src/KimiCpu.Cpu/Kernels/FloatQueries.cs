// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Multiplies in single precision; a page of BF16 is widened to floats once for all queries and both products.</summary>
internal sealed unsafe class FloatQueries : AttentionQueries
{
    private readonly AlignedBuffer<float> _queries;
    private readonly AlignedBuffer<float> _keys;
    private readonly RunningSoftmax _softmax;
    private readonly bool _bfloat16;

    /// <param name="keyWidth">Columns of a key.</param>
    /// <param name="valueWidth">Columns of a value.</param>
    /// <param name="bfloat16">Whether keys come in BF16, and values are their first columns; else both come in F32.</param>
    public FloatQueries(int keyWidth, int valueWidth, bool bfloat16)
        : base(keyWidth, valueWidth)
    {
        _bfloat16 = bfloat16;
        _softmax = new RunningSoftmax(ValueWidth);
        _queries = new AlignedBuffer<float>(LatentAttention.MostQueries * KeyWidth);
        _keys = new AlignedBuffer<float>(bfloat16 ? KvPage.Tokens * KeyWidth : 0);
    }

    public override void Clear() => _softmax.Clear(Count);

    public override void Visit(in KeyValuePage page, int count, int visible, byte* next)
    {
        WeightMatrix keys = Keys(page.Keys, count);
        WeightMatrix values = page.Values == page.Keys ? keys : new WeightMatrix(WeightFormat.Float32, count, ValueWidth, page.Values);
        FloatGemv.Multiply(keys, 0, count, _queries.Pointer, KeyWidth, Count, _softmax.Scores(0), KvPage.Tokens);
        for (int query = 0; query < Count; query++)
        {
            if (SeenBy(query, count, visible) is > 0 and int seen)
            {
                _softmax.Rescale(query, seen);
            }
        }

        if (visible >= count)
        {
            Accumulate(values, 0, Count);
            return;
        }

        for (int query = 0; query < Count; query += Heads)
        {
            if (SeenBy(query, count, visible) is > 0 and int seen)
            {
                Accumulate(values.SliceRows(0, seen), query, Heads);
            }
        }
    }

    public override void Write(int query, float* part) => _softmax.Write(query, part);

    public override void Dispose()
    {
        _softmax.Dispose();
        _queries.Dispose();
        _keys.Dispose();
    }

    protected override void Take(float* query, long stride)
    {
        int columns = Heads * KeyWidth;
        float* target = _queries.Pointer;
        for (int first = 0; first < Count; first += Heads, query += stride, target += columns)
        {
            new ReadOnlySpan<float>(query, columns).CopyTo(new Span<float>(target, columns));
        }
    }

    private WeightMatrix Keys(byte* stored, int count)
    {
        if (!_bfloat16)
        {
            return new WeightMatrix(WeightFormat.Float32, count, KeyWidth, stored);
        }

        var packed = new WeightMatrix(WeightFormat.BFloat16, count, KeyWidth, stored);
        for (int i = 0; i < count; i++)
        {
            WeightDecoder.DecodeRow(packed, i, new Span<float>(_keys.Pointer + (i * KeyWidth), KeyWidth));
        }

        return new WeightMatrix(WeightFormat.Float32, count, KeyWidth, (byte*)_keys.Pointer);
    }

    private void Accumulate(in WeightMatrix values, int firstQuery, int queries) =>
        TransposedGemm.Accumulate(values, ValueWidth, _softmax.Scores(firstQuery), KvPage.Tokens, queries, _softmax.Context(firstQuery), ValueWidth);
}
