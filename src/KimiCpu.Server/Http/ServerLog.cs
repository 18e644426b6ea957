// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu.Server.Http;

/// <summary>What the server says to a logger; never a prompt, an answer or a key.</summary>
internal static partial class ServerLog
{
    [LoggerMessage(200, LogLevel.Information, "{RequestId} {Method} {Path}: {Status} in {Milliseconds:F0} ms.")]
    public static partial void Answered(ILogger logger, string requestId, string method, string path, int status, double milliseconds);

    [LoggerMessage(201, LogLevel.Information, "{RequestId}: {PromptTokens} prompt tokens, {CachedTokens} of them cached, {CompletionTokens} tokens answered.")]
    public static partial void Used(ILogger logger, string requestId, int promptTokens, int cachedTokens, int completionTokens);

    [LoggerMessage(202, LogLevel.Information, "{RequestId}: refused with {Status}: {Code} {Parameter}")]
    public static partial void Refused(ILogger logger, string requestId, int status, string code, string parameter);

    [LoggerMessage(203, LogLevel.Error, "{RequestId}: failed.")]
    public static partial void Failed(ILogger logger, string requestId, Exception error);

    [LoggerMessage(204, LogLevel.Information, "{RequestId}: the client has gone away.")]
    public static partial void Gone(ILogger logger, string requestId);
}
