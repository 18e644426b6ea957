// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Attributes;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Benchmarks.Kernels;

/// <summary>Eight of Kimi K2's 64 heads of one token over a BF16 cache, on one thread; and the router's choice.</summary>
[MemoryDiagnoser]
public unsafe class LatentAttentionBenchmark
{
    private readonly AlignedBuffer<float> _query = new(LatentAttention.HeadGroup * 576);
    private readonly AlignedBuffer<float> _context = new(LatentAttention.HeadGroup * 512);
    private readonly int[] _experts = new int[8];
    private readonly float[] _weights = new float[8];
    private readonly float[] _routerLogits = [.. Enumerable.Range(0, 384).Select(i => MathF.Sin(i))];
    private readonly float[] _bias = new float[384];
    private ModelShape _shape = null!;
    private KvPages _pages = null!;
    private LatentAttention _attention = null!;
    private Router _router = null!;
    private int[] _table = [];

    /// <summary>Cached tokens.</summary>
    [Params(4096, 32768)]
    public int Tokens { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _shape = K2Shape.Create(layers: 1);
        _pages = new KvPages(_shape, bfloat16: true);
        _attention = new LatentAttention(_shape, bfloat16: true, TileKernel.Best().FastBFloat16Products);
        _router = new Router(_shape);
        _table = [.. Enumerable.Range(0, Tokens / KvPage.Tokens)];
        _pages.Reserve(_table.Length);
        float[] row = [.. Enumerable.Range(0, _shape.CacheWidth).Select(i => MathF.Cos(i))];
        for (int t = 0; t < Tokens; t++)
        {
            _pages.Write(t / KvPage.Tokens, 0, t % KvPage.Tokens, row);
        }

        _query.Span(0, LatentAttention.HeadGroup * 576).Fill(0.01f);
    }

    [Benchmark]
    public float Decode()
    {
        _attention.Attend(_query.Pointer, 0, 1, LatentAttention.HeadGroup, _pages, 0, _table, Tokens, _context.Pointer, 0);
        return _context.Pointer[0];
    }

    [Benchmark]
    public int Route()
    {
        _router.Route(_routerLogits, _bias, _experts, _weights);
        return _experts[0];
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _attention.Dispose();
        _pages.Dispose();
        _query.Dispose();
        _context.Dispose();
    }
}
