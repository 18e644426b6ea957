// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>
/// What a model is doing at one moment. Rates are those of the last five seconds; while calls run whose steps take longer, those since the last step began that
/// has ended. Cheap to ask for, and waits for nothing.
/// </summary>
public sealed record KimiModelActivity
{
    /// <summary>Where the hot path runs: <see cref="KimiDevice.Cpu"/> or a GPU. It changes when a GPU is lost and the CPU takes its place.</summary>
    public KimiDevice Device { get; init; }

    /// <summary>Why every call fails from now on; null while calls can run.</summary>
    public string? Failure { get; init; }

    /// <summary>Calls that share the model's steps.</summary>
    public int RunningCalls { get; init; }

    /// <summary>Calls that wait: for a place, for cache pages, or for the pages of a running call with the same text.</summary>
    public int WaitingCalls { get; init; }

    /// <summary>Pages that the cache budget holds; a page is 64 tokens.</summary>
    public int CachePages { get; init; }

    /// <summary>Those of them that running calls and open sessions hold.</summary>
    public int UsedCachePages { get; init; }

    /// <summary>Those of them that nobody holds and that are known by their text, for calls that begin alike.</summary>
    public int ReusableCachePages { get; init; }

    /// <summary>Tokens that all answers together gain per second.</summary>
    public double TokensPerSecond { get; init; }

    /// <summary>Prompt tokens computed per second; those found in the cache are not counted.</summary>
    public double PromptTokensPerSecond { get; init; }

    /// <summary>Bytes read from memory per second.</summary>
    public double BytesPerSecond { get; init; }

    /// <summary>Bytes of experts read from drives per second, those of look-ahead included; 0 where all experts are in memory.</summary>
    public double DriveBytesPerSecond { get; init; }

    /// <summary>
    /// Of the experts that steps needed, the part that was in memory then, 0 … 1; one that several tokens of a step need counts once, and those that a GPU holds do not count. Null where all experts are in memory, and
    /// where no step has ended in these seconds.
    /// </summary>
    public double? ExpertHitRate { get; init; }

    /// <summary>Bytes per second that the memory can be read with; null until measured (see <see cref="IKimiModel.MeasureMemoryBandwidth"/>).</summary>
    public double? MemoryBandwidth { get; init; }
}
