// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>What the hosting says to a logger; events below 100 are the model's.</summary>
internal static partial class HostLog
{
    [LoggerMessage(100, LogLevel.Error, "The model '{Model}' could not be opened; the next call will try again.")]
    public static partial void NotOpened(ILogger logger, string model, Exception error);
}
