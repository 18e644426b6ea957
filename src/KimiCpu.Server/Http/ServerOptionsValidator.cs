// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using Microsoft.Extensions.Options;

namespace KimiCpu.Server.Http;

/// <summary>Finds mistakes in the options before the server listens.</summary>
internal sealed class ServerOptionsValidator : IValidateOptions<KimiServerOptions>
{
    public ValidateOptionsResult Validate(string? name, KimiServerOptions options)
    {
        List<string> problems = [];
        void Require(bool condition, string option, object? found, string expected)
        {
            if (!condition)
            {
                problems.Add(string.Create(CultureInfo.InvariantCulture, $"{option} takes {expected}; found {found}."));
            }
        }

        Require(options.MaxRequests is >= 1, nameof(options.MaxRequests), options.MaxRequests, "1 or more");
        Require(options.MaxBodyBytes is >= 1, nameof(options.MaxBodyBytes), options.MaxBodyBytes, "1 or more");
        Require(options.MaxMessages is >= 1, nameof(options.MaxMessages), options.MaxMessages, "1 or more");
        Require(options.MaxTools is >= 0, nameof(options.MaxTools), options.MaxTools, "0 or more");
        Require(options.MaxSchemaBytes is >= 1, nameof(options.MaxSchemaBytes), options.MaxSchemaBytes, "1 or more");
        Require(options.MaxChoices is >= 1, nameof(options.MaxChoices), options.MaxChoices, "1 or more");
        Require(options.MaxTokens is null or >= 1, nameof(options.MaxTokens), options.MaxTokens, "1 or more, or nothing");
        Require(options.StreamKeepAlive > TimeSpan.Zero || options.StreamKeepAlive == Timeout.InfiniteTimeSpan, nameof(options.StreamKeepAlive), options.StreamKeepAlive, "a time above zero, or Timeout.InfiniteTimeSpan (-00:00:00.001)");
        Require(options.ShutdownGrace >= TimeSpan.Zero, nameof(options.ShutdownGrace), options.ShutdownGrace, "0 or more");

        // The key itself stays out of the message: it may end in a log.
        Require(options.ApiKeys.All(k => !string.IsNullOrWhiteSpace(k) && k.All(c => c is > ' ' and <= '~')), nameof(options.ApiKeys), "another", "texts of visible ASCII characters without blanks");
        return problems.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems.Select(p => $"Kimi server: {p}"));
    }
}
