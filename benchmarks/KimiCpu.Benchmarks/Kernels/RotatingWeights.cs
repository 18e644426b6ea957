// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Benchmarks.Kernels;

/// <summary>Many different random matrices of one shape, more bytes than the caches hold, handed out in turn.</summary>
internal sealed unsafe class RotatingWeights : IDisposable
{
    private const long TotalBytes = 1L << 30;

    private readonly AlignedBuffer<byte> _bytes = new(TotalBytes);
    private readonly WeightMatrix[] _matrices;
    private int _next;

    public RotatingWeights(WeightFormat format, int rows, int columns)
    {
        var random = new Random(1);
        for (long at = 0; at < TotalBytes; at += 1 << 26)
        {
            random.NextBytes(new Span<byte>(_bytes.Pointer + at, 1 << 26));
        }

        var shape = new WeightMatrix(format, rows, columns, _bytes.Pointer, null);
        long dataBytes = rows * shape.RowBytes;
        long scaleBytes = shape.TotalBytes - dataBytes;
        _matrices = new WeightMatrix[TotalBytes / (dataBytes + scaleBytes)];
        for (int m = 0; m < _matrices.Length; m++)
        {
            byte* data = _bytes.Pointer + (m * (dataBytes + scaleBytes));
            new Span<ushort>(data + dataBytes, (int)(scaleBytes / 2)).Fill(0x3C00);
            if (format == WeightFormat.BFloat16)
            {
                // Random exponents would overflow; keep the mantissas and signs.
                var values = new Span<ushort>(data, (int)(dataBytes / 2));
                for (int i = 0; i < values.Length; i++)
                {
                    values[i] = (ushort)((values[i] & 0x807F) | 0x3C00);
                }
            }

            _matrices[m] = new WeightMatrix(format, rows, columns, data, scaleBytes > 0 ? data + dataBytes : null);
        }
    }

    public ref readonly WeightMatrix Next() => ref _matrices[_next = (_next + 1) % _matrices.Length];

    public void Dispose() => _bytes.Dispose();
}
