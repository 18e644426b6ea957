// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>Rows of activations rounded to BF16 for the BF16 weights of the hot path: all tokens of a batch, in tiles, and these in bands that are multiplied apart.</summary>
internal sealed unsafe class BFloat16Rows : IDisposable
{
    private readonly WorkerPool _pool;
    private readonly BFloat16Products _products;
    private readonly List<BFloat16Tiles> _bands = [];
    private readonly PoolAction _fill;
    private float* _source;
    private int _bandTokens;

    public BFloat16Rows(WorkerPool pool, BFloat16Products products)
    {
        _pool = pool;
        _products = products;
        _fill = new PoolAction((begin, end, _) => Fill(begin, end));
    }

    /// <summary>Rounds (tokens, columns) floats, dense.</summary>
    public void Set(float* x, int tokens, int columns) => Set(x, tokens, columns, tokens);

    /// <summary>The same in bands of so many tokens, the last one with those that are left.</summary>
    public void Set(float* x, int tokens, int columns, int bandTokens)
    {
        _source = x;
        Prepare(tokens, columns, bandTokens);
        if (tokens == 1)
        {
            Fill(0, 1);
        }
        else
        {
            (int whole, int left) = Math.DivRem(tokens, bandTokens);
            _pool.Run((whole * _products.Tiles.Count(bandTokens)) + _products.Tiles.Count(left), _fill);
        }
    }

    /// <summary>Makes room for rows that <see cref="WriteColumns"/> fills.</summary>
    public void Prepare(int tokens, int columns) => Prepare(tokens, columns, tokens);

    /// <inheritdoc cref="BFloat16Tiles.WriteColumns"/>
    public void WriteColumns(float* values, int stride, int column, int count) => _bands[0].WriteColumns(values, stride, column, count);

    /// <summary>y[t * yStride + r] of some rows of a BF16 weight for all tokens of a band, the first of which is row 0 of y.</summary>
    public void Multiply(in HotMatrix weight, int rowBegin, int rowEnd, float* y, long yStride, int band = 0) =>
        _products.Multiply(weight.Stored, rowBegin, rowEnd, _bands[band], y, yStride);

    public void Dispose() => _bands.ForEach(b => b.Dispose());

    private void Prepare(int tokens, int columns, int bandTokens)
    {
        _bandTokens = bandTokens;
        for (int band = 0, first = 0; first < tokens; band++, first += bandTokens)
        {
            if (band == _bands.Count)
            {
                _bands.Add(new BFloat16Tiles(_products.Tiles));
            }

            _bands[band].Resize(Math.Min(bandTokens, tokens - first), columns);
        }
    }

    /// <summary>Item: a tile of tokens.</summary>
    private void Fill(int begin, int end)
    {
        int tilesOfBand = _products.Tiles.Count(_bandTokens);
        for (int item = begin; item < end; item++)
        {
            (int band, int tile) = Math.DivRem(item, tilesOfBand);
            BFloat16Tiles tiles = _bands[band];
            tiles.Write(tile, _source + ((long)band * _bandTokens * tiles.Columns), tiles.Columns);
        }
    }
}
