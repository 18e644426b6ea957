// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>The numbers of a model that its arithmetic depends on, all from <c>config.json</c>.</summary>
internal sealed record ModelShape
{
    public required int HiddenSize { get; init; }

    public required int LayerCount { get; init; }

    public required int VocabularySize { get; init; }

    public required int HeadCount { get; init; }

    /// <summary>Rank of the query path; 0 where the checkpoint has <c>q_proj</c> instead.</summary>
    public required int QueryLoraRank { get; init; }

    /// <summary>Width of the cached latent.</summary>
    public required int KeyValueLoraRank { get; init; }

    /// <summary>Per head: query and key values without position.</summary>
    public required int NopeHeadSize { get; init; }

    /// <summary>Per head: query values with position; also the width of the one rotary key that all heads share.</summary>
    public required int RopeHeadSize { get; init; }

    public required int ValueHeadSize { get; init; }

    /// <summary>Experts per MoE layer.</summary>
    public required int ExpertCount { get; init; }

    public required int ExpertsPerToken { get; init; }

    /// <summary>Intermediate width of one routed expert.</summary>
    public required int ExpertIntermediateSize { get; init; }

    /// <summary>Groups of experts in the router (<c>n_group</c>); 1 for Kimi K2.</summary>
    public required int ExpertGroupCount { get; init; }

    /// <summary>Groups that may be chosen from (<c>topk_group</c>).</summary>
    public required int ExpertGroupsPerToken { get; init; }

    /// <summary>Whether the chosen experts' weights are divided by their sum (<c>norm_topk_prob</c>).</summary>
    public required bool NormalizeExpertWeights { get; init; }

    public required float RoutedScalingFactor { get; init; }

    /// <summary><c>rms_norm_eps</c>, for the norms over the hidden size.</summary>
    public required float NormEpsilon { get; init; }

    /// <summary>For the norms of the two low-rank paths; the published code uses 1e-6 whatever <c>rms_norm_eps</c> says.</summary>
    public float LowRankNormEpsilon { get; init; } = 1e-6f;

    /// <summary>Largest context, in tokens.</summary>
    public required int MaxPositions { get; init; }

    public required RotaryEmbedding Rotary { get; init; }

    /// <summary>Factor on the attention scores before the softmax, mscale squared included.</summary>
    public required float SoftmaxScale { get; init; }

    /// <summary>Values cached per token and layer: latent, then rotary key.</summary>
    public int CacheWidth => KeyValueLoraRank + RopeHeadSize;
}
