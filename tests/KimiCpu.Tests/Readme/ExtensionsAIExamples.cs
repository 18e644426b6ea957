// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu;
using KimiCpu.Extensions.AI;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace KimiCpu.Tests.Readme;

/// <summary>The code of docs/extensions-ai.md, compiled and run.</summary>
internal static class ExtensionsAIExamples
{
    public static async Task Client()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        IChatClient client = model.AsIChatClient().AsBuilder().UseFunctionInvocation().UseOpenTelemetry(sourceName: "Chat").Build();

        AIFunction weather = AIFunctionFactory.Create((string city) => $"12 degrees and sunny in {city}", "get_weather", "Get the current weather for a city.");
        ChatResponse response = await client.GetResponseAsync("What is the weather in Oslo?", new ChatOptions { Tools = [weather] });
        Console.WriteLine($"{response.Text} ({response.Usage!.CachedInputTokenCount} of {response.Usage.InputTokenCount} tokens cached)");
    }

    public static void Services(IHostApplicationBuilder builder)
    {
        builder.Services.AddKimi(builder.Configuration.GetSection("Kimi"));
        builder.Services.AddChatClient(services => services.GetRequiredService<KimiChatClient>()).UseFunctionInvocation().UseOpenTelemetry(sourceName: "Chat");
        builder.Services.AddHealthChecks().AddKimi(tags: ["ready"]);
    }

    public static (MeterProviderBuilder Metrics, TracerProviderBuilder Spans) Telemetry()
    {
        MeterProviderBuilder metrics = Sdk.CreateMeterProviderBuilder().AddMeter(KimiTelemetry.MeterName, "Chat");
        TracerProviderBuilder spans = Sdk.CreateTracerProviderBuilder().AddSource(KimiTelemetry.ActivitySourceName, "Chat");
        return (metrics, spans);
    }
}
