// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

#pragma warning disable OPENAI001 // The client for responses is marked as experimental.

using System.ClientModel;
using System.Text.Json;
using Anthropic.Exceptions;
using Anthropic.Models.Messages;
using Microsoft.Extensions.AI;
using OllamaSharp.Models.Exceptions;

namespace KimiCpu.Tests.Server.Clients;

/// <summary>A client of Microsoft.Extensions.AI for one of the server's interfaces, and what is particular about it.</summary>
internal sealed record ChatClientKind
{
    private const int MaxTokens = 600;

    public static ChatClientKind[] All { get; } =
    [
        new()
        {
            Name = "OpenAI, chat completions",
            Create = (server, key, model) => server.Client(key).GetChatClient(model).AsIChatClient(),
            StatusOf = e => (e as ClientResultException)?.Status,
        },
        new()
        {
            Name = "OpenAI, responses",
            Create = (server, key, model) => server.Client(key).GetResponsesClient().AsIChatClient(model),
            StatusOf = e => (e as ClientResultException)?.Status,
            TellsFinish = false,

            // Version 10.11.0 of Microsoft.Extensions.AI.OpenAI is built for 2.14.0 of OpenAI, where this method has another result.
            Streams = false,
        },
        new()
        {
            Name = "Anthropic",
            Create = (server, key, model) => server.Anthropic(key).AsIChatClient(model),
            StatusOf = e => (int?)(e as AnthropicApiException)?.StatusCode,

            // The client leaves the temperature out, since its provider's newest models take none.
            Adjust = options => options.RawRepresentationFactory = _ => Greedy(options),
        },
        new()
        {
            Name = "OllamaSharp",
            Create = (server, key, model) => server.Ollama(key, model),
            StatusOf = e => e is OllamaException ? 400 : (int?)(e as HttpRequestException)?.StatusCode,

            // The interface has no tool_choice, and the client ends a cancelled stream without a word.
            RequiresTools = false,
            ThrowsWhenCancelled = false,
        },
    ];

    public required string Name { get; init; }

    /// <summary>Makes it for a server, an API key and the name of a model.</summary>
    public required Func<RunningServer, string, string, IChatClient> Create { get; init; }

    /// <summary>The status that an exception of the client's own tells; null for other exceptions.</summary>
    public required Func<Exception, int?> StatusOf { get; init; }

    public bool Streams { get; init; } = true;

    public bool TellsFinish { get; init; } = true;

    public bool RequiresTools { get; init; } = true;

    public bool ThrowsWhenCancelled { get; init; } = true;

    private Action<ChatOptions> Adjust { get; init; } = _ => { };

    /// <summary>The most likely answer, after reasoning as long as the model likes.</summary>
    public ChatOptions Options(ReasoningEffort effort = ReasoningEffort.High)
    {
        var options = new ChatOptions { Temperature = 0, MaxOutputTokens = MaxTokens, Reasoning = new ReasoningOptions { Effort = effort, Output = ReasoningOutput.Full } };
        Adjust(options);
        return options;
    }

    public override string ToString() => Name;

    private static MessageCreateParams Greedy(ChatOptions options)
    {
        var body = new Dictionary<string, JsonElement> { ["temperature"] = JsonElement.Parse("0") };
        return new MessageCreateParams(new Dictionary<string, JsonElement>(), new Dictionary<string, JsonElement>(), body) { Model = options.ModelId ?? "kimi-nano", MaxTokens = options.MaxOutputTokens ?? MaxTokens, Messages = [] };
    }
}
