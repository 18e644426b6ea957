// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Multiplies in single precision; a page of BF16 is widened to floats once for all queries and both products.</summary>
internal sealed unsafe class FloatQueries : LatentQueries
{
    private readonly AlignedBuffer<float> _queries;
    private readonly AlignedBuffer<float> _keys;
    private readonly RunningSoftmax _softmax;
    private readonly bool _bfloat16;

    public FloatQueries(ModelShape shape, bool bfloat16)
        : base(shape)
    {
        _bfloat16 = bfloat16;
        _softmax = new RunningSoftmax(LatentSize, LatentSize);
        _queries = new AlignedBuffer<float>(LatentAttention.MostQueries * Width);
        _keys = new AlignedBuffer<float>(bfloat16 ? KvPage.Tokens * Width : 0);
    }

    public override void Clear() => _softmax.Clear(Count);

    public override void Visit(byte* page, int count, int visible, byte* next)
    {
        WeightMatrix keys = Keys(page, count);
        FloatGemv.Multiply(keys, 0, count, _queries.Pointer, Width, Count, _softmax.Scores(0), KvPage.Tokens);
        for (int query = 0; query < Count; query++)
        {
            if (SeenBy(query, count, visible) is > 0 and int seen)
            {
                _softmax.Rescale(query, seen);
            }
        }

        if (visible >= count)
        {
            Accumulate(keys, 0, Count);
            return;
        }

        for (int query = 0; query < Count; query += Heads)
        {
            if (SeenBy(query, count, visible) is > 0 and int seen)
            {
                Accumulate(keys.SliceRows(0, seen), query, Heads);
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

    protected override void Take(float* query, long stride) => Copy(query, stride, _queries.Pointer);

    private WeightMatrix Keys(byte* page, int count)
    {
        if (!_bfloat16)
        {
            return new WeightMatrix(WeightFormat.Float32, count, Width, page);
        }

        var stored = new WeightMatrix(WeightFormat.BFloat16, count, Width, page);
        for (int i = 0; i < count; i++)
        {
            WeightDecoder.DecodeRow(stored, i, new Span<float>(_keys.Pointer + (i * Width), Width));
        }

        return new WeightMatrix(WeightFormat.Float32, count, Width, (byte*)_keys.Pointer);
    }

    private void Accumulate(in WeightMatrix keys, int firstQuery, int queries) =>
        TransposedGemm.Accumulate(keys, LatentSize, _softmax.Scores(firstQuery), KvPage.Tokens, queries, _softmax.Context(firstQuery), _softmax.ContextWidth);
}
