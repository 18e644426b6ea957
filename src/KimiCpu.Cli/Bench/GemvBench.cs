// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cli.Bench;

/// <summary>INT4 matrix times vector at the sizes of one Kimi K2 expert, over more different weights than the caches hold.</summary>
internal sealed unsafe class GemvBench : IDisposable
{
    private const long TotalBytes = 2L << 30;
    private const int RowBlock = 16;
    private const int Repetitions = 5;

    private readonly WorkerPool _pool;
    private readonly BandwidthProbe _probe;
    private readonly AlignedBuffer<byte> _weights = new(TotalBytes);
    private readonly AlignedBuffer<float> _output = new(8192);
    private readonly QuantizedRows _activations = new();

    public GemvBench(int? threads)
    {
        _pool = new WorkerPool(threads);
        _probe = new BandwidthProbe(_pool);
        var random = new Random(2);
        for (long at = 0; at < TotalBytes; at += 1 << 26)
        {
            random.NextBytes(new Span<byte>(_weights.Pointer + at, 1 << 26));
        }
    }

    public int Threads => _pool.Threads;

    public BenchResult Measure(int rows, int columns, CancellationToken cancellationToken)
    {
        long dataBytes = (long)rows * Int4Group32.RowBytes(columns);
        long scaleBytes = 2L * rows * Int4Group32.GroupsPerRow(columns);
        int matrices = (int)(TotalBytes / (dataBytes + scaleBytes));
        FillScales(matrices, dataBytes, scaleBytes);
        Quantize(columns);
        var rates = new double[Repetitions];
        double before = _probe.Measure();
        for (int i = 0; i < Repetitions; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long start = Stopwatch.GetTimestamp();
            for (int m = 0; m < matrices; m++)
            {
                byte* data = _weights.Pointer + (m * (dataBytes + scaleBytes));
                var weight = new WeightMatrix(WeightFormat.Int4Group32, rows, columns, data, data + dataBytes);
                _pool.Run((rows + RowBlock - 1) / RowBlock, new Gemv(weight, _activations, _output.Pointer));
            }

            rates[i] = matrices / Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        Array.Sort(rates);
        double rate = rates[Repetitions / 2];
        long bytes = dataBytes + scaleBytes;
        return new BenchResult($"INT4 GEMV {rows}x{columns}", rate, bytes, bytes * rate, (before + _probe.Measure()) / 2);
    }

    public void Dispose()
    {
        _activations.Dispose();
        _output.Dispose();
        _weights.Dispose();
        _probe.Dispose();
        _pool.Dispose();
    }

    private void FillScales(int matrices, long dataBytes, long scaleBytes)
    {
        for (int m = 0; m < matrices; m++)
        {
            new Span<ushort>(_weights.Pointer + (m * (dataBytes + scaleBytes)) + dataBytes, (int)(scaleBytes / 2)).Fill(0x3C00);
        }
    }

    private void Quantize(int columns)
    {
        var random = new Random(3);
        float[] x = [.. Enumerable.Range(0, columns).Select(_ => random.NextSingle() - 0.5f)];
        _activations.Resize(1, columns);
        fixed (float* source = x)
        {
            ActivationQuantizer.Quantize(source, columns, _activations.Row(0));
        }
    }

    private sealed class Gemv(WeightMatrix weight, QuantizedRows x, float* y) : IPoolWork
    {
        public void Execute(int begin, int end, int worker) =>
            Int4Gemv.Multiply(weight, begin * RowBlock, Math.Min(end * RowBlock, weight.Rows), x.Row(0), y);
    }
}
