// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>What the hosting says to a logger; events below 100 are the model's.</summary>
internal static partial class HostLog
{
    /// <param name="logger">Told.</param>
    /// <param name="model">Its name.</param>
    /// <param name="reason">What was expected, what was found, and what to do.</param>
    /// <param name="error">Null where the reason says it all: where in the program it was thrown helps nobody to find a missing file.</param>
    [LoggerMessage(100, LogLevel.Error, "The model '{Model}' could not be opened: {Reason} The next call will try again.")]
    public static partial void NotOpened(ILogger logger, string model, string reason, Exception? error);
}
