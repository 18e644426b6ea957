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

    [LoggerMessage(3, LogLevel.Debug, "Answered: {PromptTokens} prompt tokens at {PrefillRate:F1}/s, {Tokens} tokens at {DecodeRate:F1}/s, {Reason}.")]
    public static partial void Answered(ILogger logger, int promptTokens, double prefillRate, int tokens, double decodeRate, Generation.FinishReason reason);

    [LoggerMessage(4, LogLevel.Warning, "{Problem}")]
    public static partial void Warned(ILogger logger, string problem);
}
