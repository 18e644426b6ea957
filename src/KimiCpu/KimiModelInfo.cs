// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>What an open model is, read from its checkpoint.</summary>
public sealed record KimiModelInfo
{
    /// <summary>Name to show: the folder's name, in a hub's cache the model's, or <c>kimi-nano</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Decoder layers.</summary>
    public required int LayerCount { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Routed experts per MoE layer.</summary>
    public required int ExpertCount { get; init; }

    /// <summary>Routed experts that each token uses.</summary>
    public required int ExpertsPerToken { get; init; }

    /// <summary>Weights in all, routed experts included.</summary>
    public required long ParameterCount { get; init; }

    /// <summary>Bytes that the weights take in the checkpoint.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>How the checkpoint stores the routed experts, which are most of it, as <c>kimi inspect</c> shows it: <c>INT4 g32</c>, <c>FP8 128x128</c> or <c>BF16</c>.</summary>
    public required string ExpertFormat { get; init; }

    /// <summary>Token ids run from 0 to this, exclusive.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Most tokens a prompt and its answer may have together: the model's limit, the option's, or what the cache holds, whichever is least. May change when a GPU is lost and the CPU takes its place.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Bytes that a token takes in the cache, over all layers; in a saved session too. As <see cref="ContextLength"/> it may change when a GPU is lost.</summary>
    public required int CacheBytesPerToken { get; init; }
}
