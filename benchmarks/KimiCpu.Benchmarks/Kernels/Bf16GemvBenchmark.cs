// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Attributes;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Benchmarks.Kernels;

/// <summary>A BF16 matrix times one token, and the router's 384 x 7168, on one thread, weights from memory.</summary>
[MemoryDiagnoser]
public unsafe class Bf16GemvBenchmark
{
    private readonly AlignedBuffer<float> _output = new(8192);
    private readonly AlignedBuffer<float> _x = new(8192);
    private RotatingWeights _weights = null!;

    /// <summary>Rows and columns; the last one is the router.</summary>
    [Params("2048x7168", "7168x2048", "384x7168")]
    public string Shape { get; set; } = "";

    /// <summary>Which path.</summary>
    [ParamsSource(nameof(Sets))]
    public string Set { get; set; } = "";

    public static IEnumerable<string> Sets => CpuFeatures.Supported.Select(s => s.ToString());

    [GlobalSetup]
    public void Setup()
    {
        int[] sizes = [.. Shape.Split('x').Select(int.Parse)];
        _weights = new RotatingWeights(WeightFormat.BFloat16, sizes[0], sizes[1]);
        _x.Span(0, 8192).Fill(0.5f);
    }

    [Benchmark]
    public float Gemv()
    {
        ref readonly WeightMatrix weight = ref _weights.Next();
        FloatGemv.Multiply(Enum.Parse<InstructionSet>(Set), weight, 0, weight.Rows, _x.Pointer, weight.Columns, 1, _output.Pointer, weight.Rows);
        return _output.Pointer[0];
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _weights.Dispose();
        _x.Dispose();
        _output.Dispose();
    }
}
