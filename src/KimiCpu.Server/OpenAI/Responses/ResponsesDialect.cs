// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Errors as OpenAI's interface writes them, with what is too long for the context in the words and the fields of <c>/v1/responses</c>.</summary>
internal sealed class ResponsesDialect : IDialect
{
    private const string Input = "input";

    public static ResponsesDialect Instance { get; } = new();

    public (string Message, string? Parameter) TooLong(ContextOverflow overflow) => (
        overflow.IsOfPromptAlone
            ? overflow.With($"Your input exceeds the context window of this model: {overflow.Prompt} tokens of {overflow.Limit}, and an answer needs one at least. Please shorten your input and try again.")
            : overflow.With($"Your input exceeds the context window of this model together with max_output_tokens: {overflow.Prompt} + {overflow.Answer} tokens of {overflow.Limit}. Please shorten your input, or lower max_output_tokens, and try again."),
        Input);

    public JsonObject Error(RequestException error, string requestId) => OpenAIDialect.Instance.Error(error, requestId);
}
