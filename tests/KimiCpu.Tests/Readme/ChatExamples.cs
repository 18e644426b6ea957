// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Readme;

/// <summary>The code of docs/chat.md, compiled and run.</summary>
internal static class ChatExamples
{
    public static IReadOnlyList<KimiMessage> Tools(IKimiModel model)
    {
        var weather = new KimiTool("get_weather", "Returns the weather in a city.", """
            {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
            """);
        var options = new GenerationOptions { Tools = [weather] };
        List<KimiMessage> messages = [KimiMessage.User("What is the weather in Oslo?")];

        GenerationResult result = model.Generate(messages, options);
        while (result.FinishReason == FinishReason.ToolCalls)
        {
            messages.Add(result.ToMessage());
            foreach (KimiToolCall call in result.ToolCalls)
            {
                messages.Add(KimiMessage.Tool(call.Id, RunTool(call.Name, call.Arguments)));
            }

            result = model.Generate(messages, options);
        }

        return messages;
    }

    private static string RunTool(string name, string arguments) => $"12 degrees and sunny ({name} {arguments})";
}
