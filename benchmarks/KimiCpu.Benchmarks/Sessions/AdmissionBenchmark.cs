// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Attributes;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Weights;

namespace KimiCpu.Benchmarks.Sessions;

/// <summary>What the bookkeeping of a prompt of 128K tokens costs, apart from computing it; pages are those of the embedded model.</summary>
[MemoryDiagnoser]
public class AdmissionBenchmark
{
    private const int Length = 1 << 17;

    private Checkpoint _checkpoint = null!;
    private CpuBackend _cpu = null!;
    private KvCache _cache = null!;
    private int[] _cached = [];
    private int[] _new = [];

    /// <summary>Other prompts in the cache that begin with the same 128K tokens less one page.</summary>
    [Params(0, 1000)]
    public int Branches { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _checkpoint = Checkpoint.Open(KimiModel.EmbeddedFiles);
        ModelWeights weights = WeightLoader.Load(_checkpoint);
        _cpu = new CpuBackend(weights, new CpuBackendOptions());
        _cache = new KvCache(_cpu.HotPath, 1L << 30, Length);
        var random = new Random(1);
        _cached = [.. Enumerable.Range(0, Length).Select(_ => random.Next(2000))];
        _new = [1 + _cached[0], .. _cached[1..]];
        TakeIn(_cached);
        for (int i = 0; i < Branches; i++)
        {
            TakeIn([.. _cached[..^KvPage.Tokens], .. Enumerable.Range(0, KvPage.Tokens - 1).Select(_ => random.Next(2000))]);
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _cpu.Dispose();
        _checkpoint.Dispose();
    }

    [Benchmark]
    public int FindAllOfIt()
    {
        using KvSequence sequence = _cache.CreateSequence(shares: true);
        return sequence.Adopt(_cached);
    }

    [Benchmark]
    public int FindNothing()
    {
        using KvSequence sequence = _cache.CreateSequence(shares: true);
        return sequence.Adopt(_new);
    }

    /// <summary>All of a new prompt, which pushes out the one before it: the cost that is spread over computing its 128K tokens.</summary>
    [Benchmark]
    public void TakeInAnother()
    {
        _new[0] = (_new[0] + 1) % 2000;
        TakeIn(_new);
    }

    private void TakeIn(int[] text)
    {
        KvSequence sequence = _cache.CreateSequence(shares: true);
        sequence.Adopt(text);
        if (!sequence.TryExtend(text.Length - sequence.Length))
        {
            throw new InvalidOperationException("The cache is too small for the benchmark.");
        }

        while (sequence.Length < text.Length)
        {
            sequence.Advance(text.AsSpan(sequence.Length, Math.Min(256, text.Length - sequence.Length)));
        }

        _cache.Release(sequence.Leave());
    }
}
