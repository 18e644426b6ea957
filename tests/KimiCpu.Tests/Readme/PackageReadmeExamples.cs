// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Readme;

/// <summary>The code of src/PackageReadme.md.</summary>
internal static class PackageReadmeExamples
{
    public static async Task FirstProgram()
    {
        using IKimiModel model = KimiModel.OpenEmbedded();     // or KimiModel.Open("path/to/Kimi-K2-Thinking")
        GenerationResult result = model.Generate("What is the capital of France?");
        Console.WriteLine(result.Text);

        await foreach (GenerationUpdate update in model.GenerateAsync("Who are you?", new GenerationOptions { Temperature = 0.8f, Seed = 1 }))
        {
            Console.Write(update.Text);
        }
    }
}
