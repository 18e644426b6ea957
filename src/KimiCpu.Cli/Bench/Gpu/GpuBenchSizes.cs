// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>What a <see cref="GpuBench"/> measures, and how long.</summary>
internal sealed record GpuBenchSizes
{
    /// <summary>Of Kimi K2, with a card's memory to rotate through.</summary>
    public static GpuBenchSizes KimiK2 { get; } = new()
    {
        Shape = new ModelShape
        {
            HiddenSize = 7168,
            LayerCount = 61,
            VocabularySize = 163840,
            HeadCount = 64,
            QueryLoraRank = 1536,
            KeyValueLoraRank = 512,
            NopeHeadSize = 128,
            RopeHeadSize = 64,
            ValueHeadSize = 128,
            ExpertCount = 384,
            ExpertsPerToken = 8,
            ExpertIntermediateSize = 2048,
            ExpertGroupCount = 1,
            ExpertGroupsPerToken = 1,
            NormalizeExpertWeights = true,
            RoutedScalingFactor = 2.827f,
            NormEpsilon = 1e-6f,
            MaxPositions = 131072,
            Rotary = new RotaryEmbedding(64, 50000, null),
            SoftmaxScale = 0.13f,
        },
        DenseWidth = 18432,
        DenseLayers = 1,
        RotatedBytes = 512 << 20,
        WarmUp = TimeSpan.FromMilliseconds(500),
        Repetitions = 5,
        DecodeLaunches = 100,
        PromptLaunches = 8,
        DecodeRows = [1, 8],
        DecodeContexts = [4096, 32768],
        PromptRows = [512, 2048],
        PromptAttendedRows = 512,
        ExpertTokens = [16, 128],
        PromptContext = 4096,
        RoundTrips = 5000,
        StepContext = 8192,
        Steps = 15,
    };

    public required ModelShape Shape { get; init; }

    /// <summary>Of the MLP of the first layers.</summary>
    public required int DenseWidth { get; init; }

    public required int DenseLayers { get; init; }

    /// <summary>Bytes of different weights or caches that a kernel goes through before one comes again: more than any second-level cache.</summary>
    public required long RotatedBytes { get; init; }

    /// <summary>Work before anything is measured, in which clocks go up.</summary>
    public required TimeSpan WarmUp { get; init; }

    public required int Repetitions { get; init; }

    /// <summary>Fewest launches that are timed together.</summary>
    public required int DecodeLaunches { get; init; }

    /// <summary>The same for kernels of prompts, which take a thousand times longer.</summary>
    public required int PromptLaunches { get; init; }

    /// <summary>Rows of a step that decodes.</summary>
    public required int[] DecodeRows { get; init; }

    /// <summary>Tokens that a decoded one sees.</summary>
    public required int[] DecodeContexts { get; init; }

    /// <summary>Rows of a step that weights are multiplied with.</summary>
    public required int[] PromptRows { get; init; }

    /// <summary>Rows of a step whose attention is measured; the last ones of <see cref="PromptContext"/>.</summary>
    public required int PromptAttendedRows { get; init; }

    public required int PromptContext { get; init; }

    /// <summary>Tokens of an expert of a prompt.</summary>
    public required int[] ExpertTokens { get; init; }

    public required int RoundTrips { get; init; }

    /// <summary>Tokens that the token of a whole step sees.</summary>
    public required int StepContext { get; init; }

    public required int Steps { get; init; }

    /// <summary>Most rows of anything.</summary>
    public int MaxRows => Math.Max(DecodeRows.Max(), Math.Max(PromptRows.Max(), Math.Max(PromptAttendedRows, ExpertTokens.Max())));

    /// <summary>Bytes of a token in a layer's cache.</summary>
    public int TokenBytes(CacheFormat cache) => new CacheLayout(Shape, cache).TokenBytes;
}
