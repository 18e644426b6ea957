// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu;

namespace KimiCpu.Tests.Readme;

/// <summary>The code of docs/gpu.md and docs/expert-store.md, which wants models that are not here.</summary>
internal static class OpeningExamples
{
    public static void Gpu()
    {
        using IKimiModel model = KimiModel.Open("Kimi-K2-Instruct-0905", new() { Device = KimiDevice.Cuda(0) });   // or KimiDevice.Auto
        Console.WriteLine(model.Placement);   // which GPU, which weights in which precision, how much context
    }

    public static void Machine()
    {
        using IKimiModel model = KimiModel.Open("Kimi-K2-Thinking");                                            // decides by what the machine has
    }

    public static void Memory()
    {
        using IKimiModel model = KimiModel.Open("Kimi-K2-Thinking", new() { ExpertMemory = 180_000_000_000 });    // or as you say
        Console.WriteLine(model.Placement);   // … 7,152 of 23,040 experts in 180.0 GB of memory, the others read from the drive
    }
}
