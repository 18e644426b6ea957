// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>What the client says to the model's logger; events below 100 are the model's, and <see cref="Hosting.HostLog"/> has others.</summary>
internal static partial class RequestLog
{
    [LoggerMessage(101, LogLevel.Debug, "ChatOptions.AdditionalProperties has {Keys}: no options of the model, so the call goes on without them.")]
    private static partial void HasKeysOfOthers(ILogger logger, string keys);

    /// <summary>One line for a call that has any.</summary>
    /// <param name="logger">Told.</param>
    /// <param name="keys">In their order.</param>
    public static void Skipped(ILogger logger, IReadOnlyList<string> keys)
    {
        if (keys.Count > 0 && logger.IsEnabled(LogLevel.Debug))
        {
            HasKeysOfOthers(logger, string.Join(", ", keys));
        }
    }
}
