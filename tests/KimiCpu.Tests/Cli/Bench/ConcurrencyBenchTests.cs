// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Bench;

namespace KimiCpu.Tests.Cli.Bench;

[TestFixture]
internal sealed class ConcurrencyBenchTests
{
    /// <summary>Nothing would be left to wait for.</summary>
    [TestCase(64, Description = "More than the context has.")]
    [TestCase(32, Description = "What the context has, of which the beginning is not measured.")]
    [CancelAfter(60_000)]
    public void Answers_that_come_to_the_end_of_the_context_are_told(int tokens, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 64 });
        var bench = new ConcurrencyBench(model, tokens, promptTokens: 0);
        Assert.That(() => bench.Run(2, cancellationToken), Throws.InstanceOf<FormatException>().With.Message.StartsWith($"--decode {tokens}: an answer comes to the end of the model's context of 64 tokens"));
        Assert.That((model.Activity.RunningCalls, model.Activity.WaitingCalls), Is.EqualTo((0, 0)), "none of them goes on");
    }
}
