// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class StreamedAnswerTests
{
    /// <summary>One writer stands for a terminal that shows both.</summary>
    [TestCase(true, true, true, ExpectedResult = "so it is Paris.|Paris")]
    [TestCase(true, true, false, ExpectedResult = "so it is Paris.|Paris|")]
    [TestCase(true, false, false, ExpectedResult = "so it is Paris.|Paris", Description = "A file has what came and nothing else.")]
    [TestCase(false, true, true, ExpectedResult = "Paris")]
    public string Reasoning_and_text_have_lines_of_their_own(bool reasoning, bool onTerminal, bool isWhole)
    {
        var shown = new StringWriter();
        var answer = new StreamedAnswer(new CliStreams(Stream.Null, shown, shown, IsTerminal: onTerminal), text: true, reasoning);
        foreach ((string thought, string text) in new[] { ("so it is ", ""), ("Paris.", "Par"), ("", "is") })
        {
            answer.Write(new GenerationUpdate { Reasoning = thought, Text = text });
        }

        answer.End(isWhole);
        return shown.ToString().Replace(Environment.NewLine, "|", StringComparison.Ordinal);
    }

    [Test]
    public void A_reasoning_that_no_text_follows_has_its_line_too([Values] bool text)
    {
        var error = new StringWriter();
        var answer = new StreamedAnswer(new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: true), text, reasoning: true);
        answer.Write(new GenerationUpdate { Reasoning = "so", Text = "" });
        answer.End(isWhole: true);
        Assert.That(error.ToString(), Is.EqualTo("so" + Environment.NewLine));
    }
}
