// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Ollama;

/// <summary>Errors as Ollama's interface writes them.</summary>
internal sealed class OllamaDialect : IDialect
{
    public static OllamaDialect Instance { get; } = new();

    public JsonObject Error(RequestException error, string requestId) => new() { ["error"] = error.Message };
}
