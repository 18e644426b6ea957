// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Readme;

/// <summary>The README's code, compiled and run.</summary>
internal static class ReadmeExamples
{
    public static async Task FirstProgram()
    {
        using IKimiModel model = KimiModel.OpenEmbedded();     // or KimiModel.Open("path/to/Kimi-K2-Thinking")
        GenerationResult result = model.Generate("What is the capital of France?");
        Console.WriteLine($"{result.Text} ({result.Timings.DecodeTokensPerSecond:F0} tokens/s)");

        await foreach (GenerationUpdate update in model.GenerateAsync("Who are you?", new GenerationOptions { Temperature = 0.8f, Seed = 1 }))
        {
            Console.Write(update.Text);
        }
    }

    public static void Session(IKimiModel model)
    {
        using KimiSession session = model.CreateSession();
        List<KimiMessage> messages = [KimiMessage.User("My name is Anna.")];
        messages.Add(session.Generate(messages).ToMessage());
        using KimiSession branch = session.Branch();           // goes a way of its own from here
        Console.WriteLine(branch.Generate([.. messages, KimiMessage.User("What is my name?")]).Text);

        // A session knows tokens and not messages, so these are saved with it.
        session.ApplicationData = JsonSerializer.SerializeToUtf8Bytes(messages, KimiJsonContext.Default.ListKimiMessage);
        session.Save("anna.session");

        // Another day, in another process:
        using KimiSession loaded = model.LoadSession("anna.session");
        messages = JsonSerializer.Deserialize(loaded.ApplicationData.Span, KimiJsonContext.Default.ListKimiMessage)!;
        messages.Add(KimiMessage.User("What is my name?"));
        Console.WriteLine(loaded.Generate(messages).Text);
    }

    public static async Task ChatClient(IKimiModel model)
    {
        IChatClient client = model.AsIChatClient().AsBuilder().UseFunctionInvocation().Build();
        AIFunction weather = AIFunctionFactory.Create((string city) => $"12 degrees and sunny in {city}", "get_weather", "Get the current weather for a city.");
        ChatResponse response = await client.GetResponseAsync("What is the weather in Oslo?", new ChatOptions { Tools = [weather] });
        Console.WriteLine(response.Text);
    }
}
