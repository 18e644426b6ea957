// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ClientModel;
using Anthropic;
using Anthropic.Models.Messages;
using KimiCpu.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using OllamaSharp;
using OpenAI;
using OpenAI.Chat;

namespace KimiCpu.Tests.Readme;

/// <summary>The code of docs/server.md. It wants a server at its default address; what it calls is tested with the clients of the server.</summary>
internal static class ServerExamples
{
    public static async Task<object[]> Clients()
    {
        var openAI = new OpenAIClient(new ApiKeyCredential("none"), new OpenAIClientOptions { Endpoint = new Uri("http://127.0.0.1:8080/v1") });
        ChatCompletion completion = await openAI.GetChatClient("kimi-nano").CompleteChatAsync("What is the capital of France?");

        // Anthropic 13.14
        var anthropic = new AnthropicClient { BaseUrl = "http://127.0.0.1:8080", ApiKey = "none", Timeout = TimeSpan.FromHours(1) };
        Message message = await anthropic.Messages.Create(new()
        {
            Model = "kimi-nano",
            MaxTokens = 1024,
            Thinking = new ThinkingConfigAdaptive(),
            Messages = [new UserMessageParam("What is the capital of France?")],
        });

        // OllamaSharp 5.5
        var ollama = new OllamaApiClient(new HttpClient { BaseAddress = new Uri("http://127.0.0.1:8080"), Timeout = TimeSpan.FromHours(1) }, "kimi-nano");
        string answer = await new OllamaSharp.Chat(ollama).SendAsync("What is the capital of France?").StreamToEndAsync();

        // Microsoft.Extensions.AI over each of them, with tools that it calls by itself
        foreach (IChatClient client in new[] { openAI.GetChatClient("kimi-nano").AsIChatClient(), anthropic.AsIChatClient("kimi-nano"), ollama })
        {
            AIFunction weather = AIFunctionFactory.Create((string city) => $"12 degrees and sunny in {city}", "get_weather", "Get the current weather for a city.");
            IChatClient withTools = client.AsBuilder().UseFunctionInvocation().Build();
            ChatResponse response = await withTools.GetResponseAsync("What is the weather in Oslo?", new ChatOptions { Tools = [weather] });
        }

        return [completion, message, answer];
    }

    public static void Application(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddKimi(builder.Configuration.GetSection("Kimi"));
        builder.Services.AddKimiServer(o => o.MaxRequests = 16);
        app.MapKimi();
        app.MapKimiPage();       // the page at /, if it is wanted
        app.MapKimiFallback();   // answers paths that nobody else does, if the application serves nothing else
    }
}
