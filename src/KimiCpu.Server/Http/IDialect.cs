// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;

namespace KimiCpu.Server.Http;

/// <summary>How an interface writes its errors.</summary>
internal interface IDialect
{
    /// <summary>The header in which clients of this interface look for the request's id.</summary>
    string RequestIdHeader => "x-request-id";

    /// <summary>The status that this interface has for an error; most often the error's own.</summary>
    int StatusOf(RequestException error) => error.Status;

    /// <summary>
    /// How this interface says that a prompt and its answer are longer than the context. Clients that shorten a conversation by themselves
    /// know by these words that they have to.
    /// </summary>
    /// <param name="overflow">By how much.</param>
    /// <returns>The message, and the field at fault; null where this interface names none.</returns>
    (string Message, string? Parameter) TooLong(ContextOverflow overflow);

    /// <summary>The body of an error.</summary>
    /// <param name="error">What went wrong.</param>
    /// <param name="requestId">To find it again in the log.</param>
    JsonObject Error(RequestException error, string requestId);
}
