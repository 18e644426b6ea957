// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu;

using IKimiModel model = KimiModel.OpenEmbedded();
Console.WriteLine(model.Placement);
foreach (string q in new[] { "Hello! Who are you?", "What is the capital of France?", "Can you add 5 and 6?", "What is 12 + 30?" })
{
    var r = model.Generate(q, new KimiCpu.Generation.GenerationOptions { Temperature = 0 });
    Console.WriteLine($"{q} -> [{r.Reasoning}] {r.Text} ({r.FinishReason}) {r.Timings.DecodeTokensPerSecond:F0} tok/s prefill {r.Timings.PrefillTokensPerSecond:F0}");
}
