// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu;

/// <summary>What the library says to a logger.</summary>
internal static partial class KimiLog
{
    [LoggerMessage(1, LogLevel.Information, "Opened {Name}: {Layers} layers, {Experts} experts, {Bytes} bytes of weights mapped, in {Milliseconds} ms.")]
    public static partial void Opened(ILogger logger, string name, int layers, int experts, long bytes, double milliseconds);

    [LoggerMessage(2, LogLevel.Information, "{Placement}")]
    public static partial void Placed(ILogger logger, string placement);

    [LoggerMessage(3, LogLevel.Debug, "Answered: {PromptTokens} prompt tokens, {CachedTokens} of them cached, the others at {PrefillRate:F1}/s, {Tokens} tokens at {DecodeRate:F1}/s, {Megabytes:F1} MB read for each and {DriveMegabytes:F1} MB from drives, {Gigabytes:F1} GB/s, {Reason}.")]
    public static partial void Answered(ILogger logger, int promptTokens, int cachedTokens, double prefillRate, int tokens, double decodeRate, double megabytes, double driveMegabytes, double gigabytes, Generation.FinishReason reason);

    [LoggerMessage(4, LogLevel.Warning, "{Problem}")]
    public static partial void Warned(ILogger logger, string problem);

    [LoggerMessage(5, LogLevel.Debug, "Decoding reached {Share:F2} of the memory's read bandwidth of {Ceiling:F1} GB/s.")]
    public static partial void ReachedOfMemory(ILogger logger, double share, double ceiling);

    [LoggerMessage(7, LogLevel.Information, "Memory for experts: {Reason}.")]
    public static partial void Planned(ILogger logger, string reason);

    [LoggerMessage(8, LogLevel.Information, "Memory for experts changed: {InUse} of {All} slots hold experts now.")]
    public static partial void Resized(ILogger logger, int inUse, int all);

    [LoggerMessage(9, LogLevel.Information, "{Problem}")]
    public static partial void UsesUnknown(ILogger logger, string problem);

    [LoggerMessage(10, LogLevel.Warning, "{Device} was lost, and the model runs on the CPU from here on; the calls that had begun have failed. {Reason}")]
    public static partial void MovedToCpu(ILogger logger, string device, string reason);

    [LoggerMessage(11, LogLevel.Error, "{Device} was lost and nothing takes its place: every call fails from here on. {Reason}")]
    public static partial void DeviceLost(ILogger logger, string device, string reason);

    [LoggerMessage(12, LogLevel.Warning, "A step failed on {Device}; the model goes on on it. {Reason}")]
    public static partial void DeviceFailed(ILogger logger, string device, string reason);

    [LoggerMessage(13, LogLevel.Warning, "The session in {File} was computed with {Found}, and the model is open with {Expected}: its next call computes what it needs of the {Tokens} tokens again.")]
    public static partial void ComputesAgain(ILogger logger, string file, int tokens, string found, string expected);

    [LoggerMessage(16, LogLevel.Warning, "The session in {File} is saved without its cache, which was lost with its device: the next model computes its {Tokens} tokens again. {Reason}")]
    public static partial void SavesTokensOnly(ILogger logger, string file, int tokens, string reason);

    [LoggerMessage(14, LogLevel.Warning, "The system has no more memory for the cache: it holds {Made} of {Wanted} pages from here on, and earlier texts make room for others. Lower KimiModelOptions.KvCacheBytes, or free memory and open the model again; on Linux a limit of the process (ulimit -v) or vm.max_map_count may be what is used up.")]
    public static partial void CacheCut(ILogger logger, int made, int wanted);

    [LoggerMessage(17, LogLevel.Information, "Read {Tokens} tokens of a prompt back from the prompt cache on the drive, in {Milliseconds:F0} ms.")]
    public static partial void PagesRead(ILogger logger, int tokens, double milliseconds);

    [LoggerMessage(18, LogLevel.Warning, "A page of the prompt cache is deleted and will be computed again: {File}: {Problem}.")]
    public static partial void PageDropped(ILogger logger, string file, string problem);

    [LoggerMessage(19, LogLevel.Debug, "What the prompt cache has of a prompt is computed. {Reason}")]
    public static partial void PagesNotRead(ILogger logger, string reason);

    [LoggerMessage(15, LogLevel.Information, "{Device} is used, since no GPU before it can be. {Reasons}")]
    public static partial void PassedOver(ILogger logger, string device, string reasons);

    [LoggerMessage(6, LogLevel.Information, "Copied {Stored} bytes of the hot path to {Copied} bytes of 8-bit weights, in {Seconds:F1} s.")]
    public static partial void Copied(ILogger logger, long stored, long copied, double seconds);
}
