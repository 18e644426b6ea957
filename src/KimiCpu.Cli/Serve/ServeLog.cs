// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu.Cli.Serve;

/// <summary>What <c>kimi serve</c> itself says to the log.</summary>
internal static partial class ServeLog
{
    [LoggerMessage(300, LogLevel.Warning, "No model is configured, neither by {Source} nor by --model, so kimi-nano is served, a very small one. Model:ModelPath takes the folder of another one; Model:Embedded = true says that kimi-nano is meant.")]
    public static partial void NoModelConfigured(ILogger logger, string source);
}
