// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>The hyper-parameters of one model of the family, as <c>config.json</c> has them; checked on reading.</summary>
internal sealed record KimiConfig
{
    /// <summary>First of <c>architectures</c>, to show.</summary>
    public required string Architecture { get; init; }

    /// <summary><c>model_type</c>, to show.</summary>
    public required string ModelType { get; init; }

    public required int HiddenSize { get; init; }

    public required int LayerCount { get; init; }

    public required int VocabularySize { get; init; }

    public required int HeadCount { get; init; }

    /// <summary>0 where <c>q_lora_rank</c> is null: the checkpoint has <c>q_proj</c>.</summary>
    public required int QueryLoraRank { get; init; }

    public required int KeyValueLoraRank { get; init; }

    public required int NopeHeadSize { get; init; }

    public required int RopeHeadSize { get; init; }

    public required int ValueHeadSize { get; init; }

    /// <summary>Width of the dense layers' MLP.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Width of one expert's MLP.</summary>
    public required int MoeIntermediateSize { get; init; }

    /// <summary>0 for a model without experts.</summary>
    public required int RoutedExpertCount { get; init; }

    public required int SharedExpertCount { get; init; }

    public required int ExpertsPerToken { get; init; }

    public required int ExpertGroupCount { get; init; }

    public required int ExpertGroupsPerToken { get; init; }

    /// <summary><c>first_k_dense_replace</c>.</summary>
    public required int FirstDenseLayers { get; init; }

    public required int MoeLayerFrequency { get; init; }

    public required bool NormalizeExpertWeights { get; init; }

    public required double RoutedScalingFactor { get; init; }

    public required double NormEpsilon { get; init; }

    public required double RopeTheta { get; init; }

    /// <summary>Null for plain rotation.</summary>
    public required YarnConfig? RopeScaling { get; init; }

    /// <summary>Longest context in tokens.</summary>
    public required int MaxPositions { get; init; }

    public required bool TieEmbeddings { get; init; }

    /// <summary>Ids that end a text, from <c>config.json</c> and <c>generation_config.json</c> together.</summary>
    public required IReadOnlyList<int> EosTokenIds { get; init; }

    /// <summary>Rows of the blocks that share an FP8 scale.</summary>
    public required int Float8BlockRows { get; init; }

    /// <summary>Columns of the blocks that share an FP8 scale.</summary>
    public required int Float8BlockColumns { get; init; }

    /// <summary><c>quant_method</c>, to show; <c>none</c> where the configuration has none.</summary>
    public required string QuantizationMethod { get; init; }

    public bool IsMoe(int layer) => RoutedExpertCount > 0 && layer >= FirstDenseLayers && layer % MoeLayerFrequency == 0;
}

/// <summary><c>rope_scaling</c> of type <c>yarn</c>.</summary>
internal sealed record YarnConfig(double Factor, double OriginalMaxPositions, double BetaFast, double BetaSlow, double MScale, double MScaleAllDim);
