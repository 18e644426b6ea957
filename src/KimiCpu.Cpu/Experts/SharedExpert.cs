// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// The shared expert of the layers, whose passes run beside those of the routed experts, so that a layer has two barriers
/// for all of its experts. Weights as stored with single-precision activations (BF16 ones for BF16 and FP8 weights where the
/// CPU multiplies that), or 8-bit copies with rounded ones.
/// </summary>
internal sealed unsafe class SharedExpert : IDisposable
{
    private readonly IReadOnlyList<HotMlp?> _layers;
    private readonly StoredProducts _stored;
    private readonly TiledRows _roundedHidden;
    private readonly TiledRows _roundedInner;

    /// <summary>Both are null where BF16 weights take single-precision input.</summary>
    private readonly BFloat16Rows? _bfloat16Hidden;
    private readonly BFloat16Rows? _bfloat16Inner;
    private readonly AlignedBuffer<float> _gate = new();
    private readonly AlignedBuffer<float> _up = new();
    private readonly AlignedBuffer<float>[] _scratch;

    private HotMlp? _weights;
    private float* _hidden;
    private int _tokens;
    private int _blockRows;

    /// <param name="layers">Null for a layer without a shared expert.</param>
    /// <param name="pool">Runs both passes.</param>
    /// <param name="kernel">For 8-bit weights, and BF16 and FP8 ones where it can.</param>
    /// <param name="precision">Whether the input of BF16 and FP8 weights may be rounded to BF16.</param>
    public SharedExpert(IReadOnlyList<HotMlp?> layers, WorkerPool pool, TileKernel kernel, ComputePrecision precision)
    {
        _layers = layers;
        _stored = new StoredProducts(kernel, precision);
        if (precision == ComputePrecision.Fast && kernel.BFloat16Products is { } products)
        {
            _bfloat16Hidden = new BFloat16Rows(pool, products);
            _bfloat16Inner = new BFloat16Rows(pool, products);
        }

        _roundedHidden = new TiledRows(pool, kernel);
        _roundedInner = new TiledRows(pool, kernel);
        _scratch = [.. Enumerable.Range(0, pool.Threads).Select(_ => new AlignedBuffer<float>())];
    }

    /// <summary>Items of the first pass, of about equal bytes; valid after <see cref="Prepare"/>.</summary>
    public int GateUpItems => _weights is null ? 0 : (_weights.Gate.Rows + _blockRows - 1) / _blockRows;

    /// <summary>Whether the first pass multiplies integers; valid after <see cref="Prepare"/>.</summary>
    public bool IsRounded => _weights is { } weights && weights.Gate.Is8Bit && weights.Up.Is8Bit;

    /// <summary>Takes a layer and a batch; rounds or gathers activations. May use the pool.</summary>
    public void Prepare(int layer, RoutedRows rows)
    {
        _weights = _layers[layer];
        _hidden = rows.Hidden;
        _tokens = rows.RowCount;
        if (_weights is null)
        {
            return;
        }

        int inner = _weights.Gate.Rows;

        // Weights of 8 bits on either side take tiles of 32: of their own rows, or of the columns that they are multiplied with. Gate and up may differ: 4 bits are not copied.
        bool takesRounded = _weights.Gate.Is8Bit || _weights.Up.Is8Bit;
        _blockRows = takesRounded || _weights.Down.Is8Bit ? WeightTile.Rows : _stored.RowsOfItem(_weights.Gate.Stored, _tokens);
        _gate.EnsureCapacity((long)_tokens * inner);
        _up.EnsureCapacity((long)_tokens * inner);
        foreach (AlignedBuffer<float> scratch in _scratch)
        {
            scratch.EnsureCapacity(2L * Math.Max(_tokens, ExpertRuns.MostItems) * WeightTile.Rows);
        }

        if (takesRounded)
        {
            _roundedHidden.Set(_hidden, _tokens, _weights.Gate.Columns);
        }

        if (TakesBFloat16(_weights.Gate) || TakesBFloat16(_weights.Up))
        {
            _bfloat16Hidden!.Set(_hidden, _tokens, _weights.Gate.Columns);
        }

        if (_weights.Down.Is8Bit)
        {
            _roundedInner.Prepare(_tokens, inner);
        }
        else if (TakesBFloat16(_weights.Down))
        {
            _bfloat16Inner!.Prepare(_tokens, inner);
        }
    }

    /// <summary>Items one after another.</summary>
    /// <param name="firstItem">0 … <see cref="GateUpItems"/> - 1.</param>
    /// <param name="items">1 … <see cref="ExpertRuns.MostItems"/>, up to the last item at most.</param>
    /// <param name="worker">For scratch memory.</param>
    public void GateUp(int firstItem, int items, int worker)
    {
        int together = _tokens == 1 ? items : 1;
        for (int end = firstItem + items; firstItem < end; firstItem += together)
        {
            GateUpRun(firstItem, together, worker);
        }
    }

    /// <summary>sum[t * sumStride + r] += the expert's output, row firstRow + r of token t.</summary>
    /// <param name="firstRow">A multiple of 32.</param>
    /// <param name="rows">At most 32 for each of <see cref="ExpertRuns.MostItems"/>.</param>
    /// <param name="sum">(tokens, rows).</param>
    /// <param name="sumStride">Floats from token to token.</param>
    /// <param name="worker">For scratch memory.</param>
    public void Down(int firstRow, int rows, float* sum, long sumStride, int worker)
    {
        if (_weights is null)
        {
            return;
        }

        int together = _tokens == 1 ? rows : WeightTile.Rows;
        for (int row = 0; row < rows; row += together)
        {
            DownRows(_weights.Down, firstRow + row, Math.Min(together, rows - row), sum + row, sumStride, worker);
        }
    }

    public void Dispose()
    {
        _roundedHidden.Dispose();
        _roundedInner.Dispose();
        _bfloat16Hidden?.Dispose();
        _bfloat16Inner?.Dispose();
        _gate.Dispose();
        _up.Dispose();
        Array.ForEach(_scratch, s => s.Dispose());
    }

    private bool TakesBFloat16(in HotMatrix weight) => _bfloat16Hidden is not null && weight.IsBFloat16;

    private void GateUpRun(int firstItem, int items, int worker)
    {
        HotMlp weights = _weights!;
        int inner = weights.Gate.Rows;
        int first = firstItem * _blockRows;
        int stride = items * _blockRows;
        int rows = Math.Min(stride, inner - first);
        float* gate = _scratch[worker].Pointer;
        int count = _tokens * stride;
        float* up = gate + count;
        Multiply(weights.Gate, first, rows, gate, stride, worker);
        Multiply(weights.Up, first, rows, up, stride, worker);
        SwiGlu.Apply(new Span<float>(gate, count), new ReadOnlySpan<float>(up, count));
        if (weights.Down.Is8Bit)
        {
            for (int i = 0; i < items; i++)
            {
                _roundedInner.WriteGroup(gate + (i * WeightTile.Rows), stride, firstItem + i);
            }

            return;
        }

        if (TakesBFloat16(weights.Down))
        {
            for (int row = 0; row < rows; row += _blockRows)
            {
                _bfloat16Inner!.WriteColumns(gate + row, stride, first + row, Math.Min(_blockRows, rows - row));
            }

            return;
        }

        for (int t = 0; t < _tokens; t++)
        {
            new ReadOnlySpan<float>(gate + (t * stride), rows).CopyTo(new Span<float>(_gate.Pointer + ((long)t * inner) + first, rows));
        }
    }

    private void DownRows(in HotMatrix down, int firstRow, int rows, float* sum, long sumStride, int worker)
    {
        float* block = _scratch[worker].Pointer;
        int stride = WeightTile.TilesOf(rows) * WeightTile.Rows;
        if (down.Is8Bit)
        {
            MultiplyTiles(_roundedInner, down, firstRow, rows, block, stride, worker);
        }
        else if (TakesBFloat16(down))
        {
            _bfloat16Inner!.Multiply(down, firstRow, firstRow + rows, block - firstRow, stride);
        }
        else
        {
            _stored.Multiply(down.Stored, firstRow, firstRow + rows, _gate.Pointer, down.Columns, _tokens, block - firstRow, stride);
        }

        for (int t = 0; t < _tokens; t++)
        {
            var target = new Span<float>(sum + (t * sumStride), rows);
            RowMath.Add(target, new ReadOnlySpan<float>(block + (t * stride), rows));
        }
    }

    /// <summary>y[t * stride + r]; rows behind the last are zeros.</summary>
    private void Multiply(in HotMatrix weight, int first, int rows, float* y, int stride, int worker)
    {
        if (weight.Is8Bit)
        {
            MultiplyTiles(_roundedHidden, weight, first, rows, y, stride, worker);
            return;
        }

        if (rows < stride)
        {
            new Span<float>(y, _tokens * stride).Clear();
        }

        if (TakesBFloat16(weight))
        {
            _bfloat16Hidden!.Multiply(weight, first, first + rows, y - first, stride);
            return;
        }

        _stored.Multiply(weight.Stored, first, first + rows, _hidden, weight.Columns, _tokens, y - first, stride);
    }

    private static void MultiplyTiles(TiledRows rounded, in HotMatrix weight, int first, int rows, float* y, int stride, int worker)
    {
        long tileBytes = WeightTile.Bytes(weight.Columns);
        for (int row = 0; row < rows; row += WeightTile.Rows)
        {
            rounded.Multiply(weight.Tiles + ((first + row) / WeightTile.Rows * tileBytes), y + row, stride, worker);
        }
    }
}
