// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using Microsoft.Extensions.Options;

namespace KimiCpu.Server.Http;

/// <summary>Finds mistakes in the options before the server listens.</summary>
internal sealed class ServerOptionsValidator : IValidateOptions<KimiServerOptions>
{
    /// <summary>Timers reach no further than some weeks, and who asks for more has most often left out the unit.</summary>
    private static readonly TimeSpan s_longest = TimeSpan.FromDays(1);

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
        Require(options.Temperature is null or (>= 0 and <= 100), nameof(options.Temperature), options.Temperature, "0 … 100, or nothing");
        Require(options.TopP is null or (> 0 and <= 1), nameof(options.TopP), options.TopP, "a number above 0 and at most 1, or nothing");
        Require((options.StreamKeepAlive > TimeSpan.Zero && options.StreamKeepAlive <= s_longest) || options.StreamKeepAlive == Timeout.InfiniteTimeSpan, nameof(options.StreamKeepAlive), options.StreamKeepAlive, "a time above zero up to a day (00:00:15 are 15 seconds), or -00:00:00.001 for none");
        Require(options.ShutdownGrace >= TimeSpan.Zero && options.ShutdownGrace <= s_longest, nameof(options.ShutdownGrace), options.ShutdownGrace, "a time of zero up to a day (00:00:10 are 10 seconds)");

        Require(options.ModelNames.All(n => !string.IsNullOrWhiteSpace(n)), nameof(options.ModelNames), "an empty one", "names, or *");
        foreach (string origin in options.AllowedOrigins.Where(o => !IsOrigin(o)))
        {
            Require(false, nameof(options.AllowedOrigins), $"'{origin}'", "origins as browsers send them, such as https://chat.example.com or http://localhost:3000, without a path");
        }

        // The key itself stays out of the message: it may end in a log.
        Require(options.ApiKeys.All(k => !string.IsNullOrWhiteSpace(k) && k.All(c => c is > ' ' and <= '~')), nameof(options.ApiKeys), "another", "texts of visible ASCII characters without blanks");
        return problems.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems.Select(p => $"Kimi server: {p}"));
    }
    /// <summary>Pages of files and some apps send <c>null</c> or a scheme of their own.</summary>
    private static bool IsOrigin(string text) =>
        text == "null" || (Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) && uri.Host.Length > 0 && text.Equals($"{uri.Scheme}://{uri.Authority}", StringComparison.OrdinalIgnoreCase));
}
