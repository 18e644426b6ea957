// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class PromptLineTests
{
    [Test]
    public void Line_is_shown_for_long_prompts_until_they_are_read_and_then_taken_away()
    {
        var terminal = new StringWriter();
        var line = new PromptLine(terminal, () => 0);
        line.Report(new PromptProgress(64, 0, 4096));
        Assert.That(terminal.ToString(), Is.Empty, "nobody has waited yet");
        Thread.Sleep(600);
        line.Report(new PromptProgress(1024, 0, 4096));
        const string Shown = "\rReading the prompt: 1,024 of 4,096 tokens ";
        Assert.That(terminal.ToString(), Is.EqualTo(Shown));
        line.Report(new PromptProgress(4096, 0, 4096));
        Assert.That(terminal.ToString(), Is.EqualTo(Shown), "the answer begins");
        line.End();
        line.End();
        line.Report(new PromptProgress(2048, 0, 4096));
        Assert.That(terminal.ToString(), Is.EqualTo($"{Shown}\r{new string(' ', Shown.Length - 1)}\r"));
    }
}
