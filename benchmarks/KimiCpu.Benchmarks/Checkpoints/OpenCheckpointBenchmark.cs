// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using BenchmarkDotNet.Attributes;
using KimiCpu.Checkpoints;
using KimiCpu.Tests.Checkpoints;
using KimiCpu.Weights;

namespace KimiCpu.Benchmarks.Checkpoints;

/// <summary>Opening a checkpoint with Kimi K2 Thinking's headers (62 shards, some 210,000 tensors, 594 GB of holes), up to the weights' views.</summary>
[MemoryDiagnoser]
public class OpenCheckpointBenchmark
{
    private string _folder = "";

    [GlobalSetup]
    public void Write()
    {
        _folder = Directory.CreateTempSubdirectory("kimicpu-bench").FullName;
        SparseK2.Write(_folder);
    }

    [Benchmark]
    public int Open()
    {
        using Checkpoint checkpoint = Checkpoint.Open(_folder);
        return WeightLoader.Load(checkpoint).Layers.Length;
    }

    [GlobalCleanup]
    public void Delete() => Directory.Delete(_folder, recursive: true);
}
