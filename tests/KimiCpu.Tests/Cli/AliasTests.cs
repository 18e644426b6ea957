// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class AliasTests
{
    [TestCase("--help", "help")]
    [TestCase("plan --help", "help", "plan")]
    [TestCase("--version", "version")]
    public async Task Words_that_other_tools_have_mean_the_options(string option, params string[] words)
    {
        (int code, string output, _) = await Run(words);
        Assert.That(code, Is.Zero);
        Assert.That(output, Is.Not.Empty.And.EqualTo((await Run(option.Split(' '))).Output));
    }

    [Test]
    public async Task A_word_that_is_no_command_is_named_alone()
    {
        (int code, _, string error) = await Run("nosuch");
        Assert.That(code, Is.EqualTo(KimiCommand.Usage));
        Assert.That(error, Does.StartWith("Unrecognized command or argument 'nosuch'.").And.Not.Contain("Required command"));
        Assert.That((await Run()).Error, Does.StartWith("Required command was not provided."));
    }

    private static async Task<(int Code, string Output, string Error)> Run(params string[] args)
    {
        using var source = new CancellationTokenSource();
        var output = new StringWriter();
        var error = new StringWriter();
        int code = await KimiCommand.RunAsync(args, new CliStreams(Stream.Null, output, error, IsTerminal: false), source);
        return (code, output.ToString(), error.ToString());
    }
}
