// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>Rotary embedding of the rows of a batch; the same for all layers of a pass.</summary>
internal sealed class RowRotation(RotaryEmbedding rotary, int ropeHeadSize)
{
    private readonly int _pairs = ropeHeadSize / 2;
    private float[] _cosines = [];
    private float[] _sines = [];

    public void Prepare(RaggedBatch batch)
    {
        int rows = batch.RowCount;
        if (_cosines.Length < rows * _pairs)
        {
            // Both or neither: where memory runs out, a later batch finds them as they were.
            (_cosines, _sines) = (new float[rows * _pairs], new float[rows * _pairs]);
        }

        for (int row = 0; row < rows; row++)
        {
            rotary.Fill(batch.Positions[row], _cosines.AsSpan(row * _pairs, _pairs), _sines.AsSpan(row * _pairs, _pairs));
        }
    }

    /// <summary>Rotates adjacent pairs by the row's position.</summary>
    public void Apply(int row, Span<float> x)
    {
        for (int i = 0; i < _pairs; i++)
        {
            float cos = _cosines[(row * _pairs) + i];
            float sin = _sines[(row * _pairs) + i];
            float even = x[2 * i];
            float odd = x[(2 * i) + 1];
            x[2 * i] = (even * cos) - (odd * sin);
            x[(2 * i) + 1] = (odd * cos) + (even * sin);
        }
    }
}
