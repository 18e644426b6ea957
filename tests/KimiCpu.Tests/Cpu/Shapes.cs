// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Tests.Cpu;

/// <summary>Sizes for tests of single kernels.</summary>
internal static class Shapes
{
    public static ModelShape Small() => new()
    {
        HiddenSize = 64,
        LayerCount = 2,
        VocabularySize = 100,
        HeadCount = 11,
        QueryLoraRank = 16,
        KeyValueLoraRank = 40,
        NopeHeadSize = 12,
        RopeHeadSize = 6,
        ValueHeadSize = 10,
        ExpertCount = 8,
        ExpertsPerToken = 3,
        ExpertIntermediateSize = 48,
        ExpertGroupCount = 1,
        ExpertGroupsPerToken = 1,
        NormalizeExpertWeights = true,
        RoutedScalingFactor = 2.827f,
        NormEpsilon = 1e-5f,
        MaxPositions = 4096,
        Rotary = new RotaryEmbedding(6, 10000, null),
        SoftmaxScale = 0.2f,
    };
}
