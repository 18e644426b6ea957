// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>Rows of activations rounded for the 8-bit weights of the hot path: all tokens of a batch, in tiles.</summary>
internal sealed unsafe class TiledRows : IDisposable
{
    private readonly WorkerPool _pool;
    private readonly TileKernel _kernel;
    private readonly QuantizedRows _rounded = new();
    private readonly ActivationTiles _tiles = new();
    private readonly AlignedBuffer<float>[] _lanes;
    private readonly PoolAction _fill;
    private float* _source;
    private int _tokens;

    public TiledRows(WorkerPool pool, TileKernel kernel)
    {
        _pool = pool;
        _kernel = kernel;
        _lanes = [.. Enumerable.Range(0, pool.Threads).Select(_ => new AlignedBuffer<float>(kernel.ScratchFloats))];
        _fill = new PoolAction(Fill);
    }

    /// <summary>Rounds (tokens, columns) floats, dense.</summary>
    public void Set(float* x, int tokens, int columns)
    {
        _source = x;
        _tokens = tokens;
        _rounded.Resize(tokens, columns);
        _tiles.Resize(tokens, columns);
        _pool.Run(_kernel.Tiles.Count(tokens), _fill);
    }

    /// <summary>Makes room for rows that <see cref="WriteGroup"/> fills, the padding zero.</summary>
    public void Prepare(int tokens, int columns)
    {
        _tokens = tokens;
        _tiles.Resize(tokens, columns);
        int groups = (columns + WeightTile.Rows - 1) / WeightTile.Rows;
        for (int first = 0; first < tokens;)
        {
            int count = _kernel.Tiles.Next(tokens - first);
            _tiles.ClearFrom(groups, first, count);
            first += count;
        }
    }

    /// <summary>Rounds values (tokens, 32) to a group of each token.</summary>
    /// <param name="values">Rows <paramref name="stride"/> floats apart.</param>
    /// <param name="stride">Floats.</param>
    /// <param name="group">Which group of 32 columns.</param>
    public void WriteGroup(float* values, int stride, int group)
    {
        byte* record = stackalloc byte[TileRecord.TokenBytes];
        var rounded = new QuantizedRow(record, 1);
        for (int first = 0; first < _tokens;)
        {
            int count = _kernel.Tiles.Next(_tokens - first);
            for (int t = 0; t < count; t++)
            {
                ActivationQuantizer.QuantizeGroup(values + ((first + t) * stride), rounded, 0);
                _tiles.WriteGroup(rounded, 0, group, first, count, t, WeightTile.Int8Bias);
            }

            first += count;
        }
    }

    /// <summary>y[t * yStride + r] of the 32 rows of a tile for all tokens.</summary>
    public void Multiply(byte* weightTile, float* y, long yStride, int worker) => Multiply(weightTile, 0, _tokens, y, yStride, worker);

    /// <summary>The same of some tokens, as <see cref="Band"/> cuts them, the first of which is row 0 of y.</summary>
    public void Multiply(byte* weightTile, int firstToken, int lastToken, float* y, long yStride, int worker)
    {
        // The next tile is asked for while this one is multiplied.
        long tileBytes = (long)_tiles.Blocks * LaneSum.Lanes * WeightTile.RecordBytes;
        var ahead = new TileAhead(weightTile + tileBytes, tileBytes, _tiles.Blocks * LaneSum.Lanes, _kernel.Tiles.Count(lastToken - firstToken));
        for (int first = firstToken; first < lastToken;)
        {
            int count = _kernel.Tiles.Next(_tokens - first);
            _kernel.Multiply(weightTile, bits8: true, _tiles.Tile(first), count, _tiles.Blocks, _lanes[worker].Pointer, ahead, y + ((first - firstToken) * yStride), yStride);
            ahead.MoveOn();
            first += count;
        }
    }

    /// <summary>Tokens of a band of so many, each of whole tiles: the first, and the one behind the last.</summary>
    public (int First, int End) Band(int band, int bands)
    {
        int tiles = _kernel.Tiles.Count(_tokens);
        return (FirstOf(band), FirstOf(band + 1));

        int FirstOf(int index)
        {
            int tile = (int)((long)tiles * index / bands);
            return tile == tiles ? _tokens : _kernel.Tiles.At(_tokens, tile).FirstToken;
        }
    }

    public void Dispose()
    {
        _rounded.Dispose();
        _tiles.Dispose();
        Array.ForEach(_lanes, l => l.Dispose());
    }

    /// <summary>Item: a tile.</summary>
    private void Fill(int begin, int end, int worker)
    {
        Span<QuantizedRow> rows = stackalloc QuantizedRow[_kernel.MaxTokens];
        for (int item = begin; item < end; item++)
        {
            (int first, int count) = _kernel.Tiles.At(_tokens, item);
            for (int t = 0; t < count; t++)
            {
                rows[t] = _rounded.Row(first + t);
                ActivationQuantizer.Quantize(_source + ((long)(first + t) * _rounded.Columns), _rounded.Columns, rows[t]);
            }

            _tiles.Write(rows[..count], first, WeightTile.Int8Bias);
        }
    }
}
