// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class UnknownOptionTests
{
    [TestCase("'--max-tokens' is no option of `kimi generate`", "generate", "--max-tokens", "2", "text")]
    [TestCase("'--max-tokens' is no option of `kimi generate`", "generate", "--max-tokens")]
    [TestCase("'--max-tokens' is no option of `kimi generate`", "generate", "text", "--max-tokens")]
    [TestCase("'--exact-ly' is no option of `kimi chat`", "chat", "--exact-ly")]
    [TestCase("'--mode' is no option of `kimi inspect`", "inspect", "--mode", "/does/not/exist")]
    [TestCase("'--model' is no option of `kimi`", "--model", "/does/not/exist")]
    public async Task An_option_that_there_is_not_is_named_alone(string expected, params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        int code = await KimiCommand.RunAsync(args, new CliStreams(Stream.Null, output, error, IsTerminal: false), cancellation);
        Assert.That(code, Is.EqualTo(KimiCommand.Usage));
        Assert.That(output.ToString(), Is.Empty);
        string[] lines = error.ToString().Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries);
        Assert.That(lines, Has.Length.EqualTo(2));
        Assert.That(lines[0], Does.StartWith(expected));
        Assert.That(lines[1], Does.StartWith("`kimi --help`"));
    }

    [TestCase("generate", "--", "--max-tokens")]
    [TestCase("generate", "--system", "--be-brief", "text")]
    [TestCase("generate", "-- or so")]
    [TestCase("generate", "--")]
    [TestCase("generate", "--tokens", "2", "-5 + 3 is?")]
    [TestCase("inspect", "-")]
    public void Other_words_are_not_taken_for_options(params string[] args)
    {
        var streams = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false);
        Assert.That(OptionWords.UnknownOptions(KimiCommand.Parse(streams, args)), Is.Empty);
    }
}
