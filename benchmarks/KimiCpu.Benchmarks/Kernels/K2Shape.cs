// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Benchmarks.Kernels;

/// <summary>The sizes of Kimi K2.</summary>
internal static class K2Shape
{
    public static ModelShape Create(int layers) => new()
    {
        HiddenSize = 7168,
        LayerCount = layers,
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
        NormEpsilon = 1e-5f,
        MaxPositions = 262144,
        Rotary = new RotaryEmbedding(64, 50000, null),
        SoftmaxScale = 0.1f,
    };
}
