// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>Rows of activations rounded to BF16 for the BF16 weights of the hot path: all tokens of a batch, in tiles.</summary>
internal sealed unsafe class BFloat16Rows : IDisposable
{
    private readonly WorkerPool _pool;
    private readonly BFloat16Products _products;
    private readonly BFloat16Tiles _tiles;
    private readonly PoolAction _fill;
    private float* _source;

    public BFloat16Rows(WorkerPool pool, BFloat16Products products)
    {
        _pool = pool;
        _products = products;
        _tiles = new BFloat16Tiles(products.Tiles);
        _fill = new PoolAction((begin, end, _) => Fill(begin, end));
    }

    /// <summary>Rounds (tokens, columns) floats, dense.</summary>
    public void Set(float* x, int tokens, int columns)
    {
        _source = x;
        _tiles.Resize(tokens, columns);
        if (tokens == 1)
        {
            Fill(0, 1);
        }
        else
        {
            _pool.Run(_products.Tiles.Count(tokens), _fill);
        }
    }

    /// <summary>Makes room for rows that <see cref="WriteColumns"/> fills.</summary>
    public void Prepare(int tokens, int columns) => _tiles.Resize(tokens, columns);

    /// <inheritdoc cref="BFloat16Tiles.WriteColumns"/>
    public void WriteColumns(float* values, int stride, int column, int count) => _tiles.WriteColumns(values, stride, column, count);

    /// <summary>y[t * yStride + r] of some rows of a BF16 weight for all tokens.</summary>
    public void Multiply(in HotMatrix weight, int rowBegin, int rowEnd, float* y, long yStride) =>
        _products.Multiply(weight.Stored, rowBegin, rowEnd, _tiles, y, yStride);

    public void Dispose() => _tiles.Dispose();

    /// <summary>Item: a tile of tokens.</summary>
    private void Fill(int begin, int end)
    {
        for (int tile = begin; tile < end; tile++)
        {
            _tiles.Write(tile, _source, _tiles.Columns);
        }
    }
}
