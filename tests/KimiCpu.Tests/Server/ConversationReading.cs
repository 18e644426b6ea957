// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;
using KimiCpu.Server.OpenAI;
using KimiCpu.Server.OpenAI.Responses;

namespace KimiCpu.Tests.Server;

/// <summary>Messages of each interface as the server reads them.</summary>
internal static class ConversationReading
{
    public static IReadOnlyList<KimiMessage> Anthropic(string messages) => new MessagesReader(100).Read(Request("messages", messages));

    public static IReadOnlyList<KimiMessage> OpenAI(string messages) => new ChatMessageReader(100).Read(Request("messages", messages));

    public static IReadOnlyList<KimiMessage> Responses(string items) => new InputReader(100).Read(Request("input", items));

    public static IReadOnlyList<KimiMessage> Ollama(string messages) =>
        new OllamaRequestReader(new RequestParts(new KimiServerOptions(), new FormatReader(), CancellationToken.None)).ReadChat(Request("messages", messages))!.Messages!;

    private static JsonFields Request(string name, string elements) => new(JsonElement.Parse($$"""{"{{name}}":[{{elements}}]}"""));
}
