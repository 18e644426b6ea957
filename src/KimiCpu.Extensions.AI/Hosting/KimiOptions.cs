// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Extensions.AI;

/// <summary>
/// Which model <c>AddKimi</c> opens and how, in a form that configuration binds to. Either <see cref="ModelPath"/> or
/// <see cref="Embedded"/> is required; the other members are those of <see cref="KimiModelOptions"/> and <see cref="SchedulingOptions"/>.
/// </summary>
public sealed class KimiOptions
{
    /// <summary>Checkpoint folder as downloaded.</summary>
    public string? ModelPath { get; set; }

    /// <summary>Whether the model is kimi-nano, which comes with the library, instead of a checkpoint folder. Default false.</summary>
    public bool Embedded { get; set; }

    /// <summary>
    /// Whether the model is opened in the background when the host starts; calls wait until it is open. Otherwise the first
    /// call opens it, as it does where there is no host. Default true.
    /// </summary>
    public bool OpenAtStart { get; set; } = true;

    /// <inheritdoc cref="KimiModelOptions.Threads"/>
    public int? Threads { get; set; }

    /// <inheritdoc cref="KimiModelOptions.TuneThreads"/>
    public bool TuneThreads { get; set; }

    /// <inheritdoc cref="KimiModelOptions.Exact"/>
    public bool Exact { get; set; }

    /// <inheritdoc cref="KimiModelOptions.Int8HotPath"/>
    public bool Int8HotPath { get; set; }

    /// <summary>Where the hot path runs, as <see cref="KimiDevice.Parse"/> reads it: cpu, auto, cuda or cuda:N. See <see cref="KimiModelOptions.Device"/>.</summary>
    public string Device { get; set; } = "cpu";

    /// <inheritdoc cref="KimiModelOptions.GpuExpertBytes"/>
    public long? GpuExpertBytes { get; set; }

    /// <inheritdoc cref="KimiModelOptions.RuntimeCodeGeneration"/>
    public bool RuntimeCodeGeneration { get; set; } = true;

    /// <inheritdoc cref="KimiModelOptions.ContextLength"/>
    public int? ContextLength { get; set; }

    /// <inheritdoc cref="KimiModelOptions.KvCacheBytes"/>
    public long? KvCacheBytes { get; set; }

    /// <inheritdoc cref="KimiModelOptions.ExpertMemory"/>
    public long? ExpertMemory { get; set; }

    /// <inheritdoc cref="KimiModelOptions.PreloadExperts"/>
    public bool PreloadExperts { get; set; }

    /// <inheritdoc cref="KimiModelOptions.RememberExperts"/>
    public bool RememberExperts { get; set; } = true;

    /// <inheritdoc cref="KimiModelOptions.PrefixCaching"/>
    public bool PrefixCaching { get; set; } = true;

    /// <inheritdoc cref="KimiModelOptions.PromptCacheDirectory"/>
    public string? PromptCacheDirectory { get; set; }

    /// <inheritdoc cref="KimiModelOptions.PromptCacheBytes"/>
    public long PromptCacheBytes { get; set; } = new KimiModelOptions().PromptCacheBytes;

    /// <inheritdoc cref="KimiModelOptions.PrefillChunk"/>
    public int? PrefillChunk { get; set; }

    /// <inheritdoc cref="SchedulingOptions.MaxRunning"/>
    public int MaxRunning { get; set; } = new SchedulingOptions().MaxRunning;

    /// <inheritdoc cref="SchedulingOptions.MaxWaiting"/>
    public int MaxWaiting { get; set; } = new SchedulingOptions().MaxWaiting;

    /// <inheritdoc cref="SchedulingOptions.MaxQueueTime"/>
    public TimeSpan? MaxQueueTime { get; set; }

    /// <inheritdoc cref="SchedulingOptions.MaxCallTime"/>
    public TimeSpan? MaxCallTime { get; set; }

    /// <inheritdoc cref="SchedulingOptions.MaxTokenGap"/>
    public TimeSpan? MaxTokenGap { get; set; }
}
