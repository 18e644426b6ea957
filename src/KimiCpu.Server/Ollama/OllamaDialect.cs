// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Ollama;

/// <summary>Errors as Ollama's interface writes them.</summary>
internal sealed class OllamaDialect : IDialect
{
    public static OllamaDialect Instance { get; } = new();

    /// <summary>It is always the prompt that is too long: answers take the room that there is, whatever the request allows them.</summary>
    public (string Message, string? Parameter) TooLong(ContextOverflow overflow) => (
        overflow.With($"prompt too long; exceeded max context length by {overflow.Prompt + 1L - overflow.Limit} tokens: {overflow.Prompt} of the prompt and one of an answer do not fit its {overflow.Limit}. Shorten the conversation."),
        null);

    public JsonObject Error(RequestException error, string requestId) => new() { ["error"] = error.Message };
}
