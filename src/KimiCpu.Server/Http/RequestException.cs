// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints;
using KimiCpu.Extensions.AI.Requests;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Http;

/// <summary>A request that is not answered: an HTTP status and a sentence, which each dialect puts into its own form.</summary>
/// <param name="status">HTTP status.</param>
/// <param name="message">What was expected, what was found, and what to do.</param>
/// <param name="parameter">The field at fault, as <c>messages[2].content</c>; null where no field is.</param>
/// <param name="code">Short name of the problem, in OpenAI's words; null where there is none.</param>
internal sealed class RequestException(int status, string message, string? parameter = null, string? code = null) : Exception(message)
{
    public int Status { get; } = status;

    public string? Parameter { get; } = parameter;

    public string? Code { get; } = code;

    /// <summary>Seconds after which to ask again; null where that does not help.</summary>
    public int? RetryAfter { get; init; }

    /// <summary>What the caller is told of a failure; null where he is to blame the server, and the log has to know.</summary>
    /// <param name="e">The failure.</param>
    /// <param name="dialect">In whose words.</param>
    public static RequestException? Of(Exception e, IDialect dialect) => e switch
    {
        RequestException own => own,
        KimiBusyException busy => new RequestException(StatusCodes.Status429TooManyRequests, e.Message, code: "rate_limit_exceeded") { RetryAfter = (int)busy.RetryAfter.TotalSeconds },
        TimeoutException => new RequestException(StatusCodes.Status504GatewayTimeout, e.Message, code: "timeout"),
        ContextLengthException { PromptTokens: { } prompt, NeededTokens: { } needed, AvailableTokens: { } limit } tooLong => Of(new ContextOverflow(prompt, needed - prompt, limit, tooLong.MoreRoom), dialect),
        ContextLengthException => new RequestException(StatusCodes.Status429TooManyRequests, e.Message, code: "rate_limit_exceeded") { RetryAfter = 5 },
        KimiConstraintException => new RequestException(StatusCodes.Status400BadRequest, e.Message, code: "unsupported_schema"),
        ArgumentOutOfRangeException { ParamName: { } option } when RequestMistake.Is(e) => new RequestException(StatusCodes.Status400BadRequest, InFieldsWords(Sentence(e), option), FieldOf(option)),
        _ when RequestMistake.Is(e) => new RequestException(StatusCodes.Status400BadRequest, Sentence(e).Replace("LogitBias forbids", "logit_bias forbids", StringComparison.Ordinal)),
        ObjectDisposedException => new RequestException(StatusCodes.Status503ServiceUnavailable, "The server is shutting down.", code: "shutting_down") { RetryAfter = 10 },
        BadHttpRequestException http => new RequestException(http.StatusCode, http.Message),
        _ => null,
    };

    private static RequestException Of(ContextOverflow overflow, IDialect dialect)
    {
        (string message, string? parameter) = dialect.TooLong(overflow);
        return new RequestException(StatusCodes.Status400BadRequest, message, parameter, ContextOverflow.Code);
    }

    /// <summary>The message without what .NET adds about its own parameters.</summary>
    private static string Sentence(Exception e)
    {
        string message = e.Message.ReplaceLineEndings("\n").Split('\n')[0];
        int parameter = message.IndexOf(" (Parameter '", StringComparison.Ordinal);
        return parameter < 0 ? message : message[..parameter];
    }

    /// <summary>A sentence that begins with an option's name, with the field's in its place.</summary>
    private static string InFieldsWords(string sentence, string option) => sentence.StartsWith(option + " ", StringComparison.Ordinal) ? FieldOf(option) + sentence[option.Length..] : sentence;

    /// <summary>An option of the library by the name that requests have for it.</summary>
    private static string FieldOf(string option) => option switch
    {
        "StopSequences" => "stop",
        "tokens" => "prompt",
        "TopLogProbabilities" => "top_logprobs",
        _ => string.Concat(option.Select((c, i) => char.IsUpper(c) ? (i == 0 ? "" : "_") + char.ToLowerInvariant(c) : $"{c}")),
    };
}
