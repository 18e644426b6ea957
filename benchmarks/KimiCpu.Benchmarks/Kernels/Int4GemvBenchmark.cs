// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Attributes;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Benchmarks.Kernels;

/// <summary>One INT4 matrix of a Kimi K2 expert times one token, on one thread, weights from memory. 8.26 MB a call.</summary>
[MemoryDiagnoser]
public unsafe class Int4GemvBenchmark
{
    private readonly AlignedBuffer<float> _output = new(8192);
    private readonly QuantizedRows _activations = new();
    private RotatingWeights _weights = null!;

    /// <summary>Rows and columns.</summary>
    [Params("2048x7168", "7168x2048")]
    public string Shape { get; set; } = "";

    /// <summary>Which path.</summary>
    [ParamsSource(nameof(Sets))]
    public string Set { get; set; } = "";

    public static IEnumerable<string> Sets => CpuFeatures.Supported.Select(s => s.ToString());

    [GlobalSetup]
    public void Setup()
    {
        int[] sizes = [.. Shape.Split('x').Select(int.Parse)];
        _weights = new RotatingWeights(WeightFormat.Int4Group32, sizes[0], sizes[1]);
        _activations.Resize(1, sizes[1]);
        float[] x = [.. Enumerable.Range(0, sizes[1]).Select(i => MathF.Sin(i))];
        fixed (float* source = x)
        {
            ActivationQuantizer.Quantize(source, x.Length, _activations.Row(0));
        }
    }

    [Benchmark]
    public float Gemv()
    {
        ref readonly WeightMatrix weight = ref _weights.Next();
        Int4Gemv.Multiply(Enum.Parse<InstructionSet>(Set), weight, 0, weight.Rows, _activations.Row(0), _output.Pointer);
        return _output.Pointer[0];
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _weights.Dispose();
        _activations.Dispose();
        _output.Dispose();
    }
}
