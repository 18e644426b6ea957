// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Ollama;

/// <summary>Errors as Ollama's interface writes them.</summary>
internal sealed class OllamaDialect : IDialect
{
    public static OllamaDialect Instance { get; } = new();

    public (string Message, string? Parameter) TooLong(ContextOverflow overflow)
    {
        string fewer = overflow.IsOfPromptAlone ? "" : ", or ask for fewer tokens (num_predict)";
        return (
            overflow.With($"prompt too long; exceeded max context length by {overflow.Needed - overflow.Limit} tokens: {overflow.Prompt} of the prompt and {overflow.Answer} of the answer do not fit its {overflow.Limit}. Shorten the conversation{fewer}."),
            null);
    }

    public JsonObject Error(RequestException error, string requestId) => new() { ["error"] = error.Message };
}
