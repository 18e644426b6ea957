// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

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
        Assert.That(() => (model.Activity.RunningCalls, model.Activity.WaitingCalls), Is.EqualTo((0, 0)).After(30_000, 5), "none of them goes on");
    }

    /// <summary>As on a GPU. One that never begins would be waited for until another one comes to the end of the context.</summary>
    [TestCase(3, 0)]
    [TestCase(2, 16)]
    [CancelAfter(60_000)]
    public void More_answers_than_run_at_once_are_refused(int answers, int promptTokens, CancellationToken cancellationToken)
    {
        var options = new KimiModelOptions { Scheduling = new SchedulingOptions { MaxRunning = 2 } };
        var streams = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false);
        Assert.That(
            () => ConcurrencyReport.Run(Repository.NanoModel, "kimi-nano", options, [1, answers], tokens: 4, promptTokens, chart: null, json: false, streams, cancellationToken),
            Throws.InstanceOf<FormatException>().With.Message.StartsWith($"--concurrency {answers}: 2 calls run at once here"));
    }
}
