// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

/// <summary>Commands as the program runs them, but in this process, and a folder for each test.</summary>
internal abstract class CommandFixture
{
    protected string Folder { get; private set; } = "";

    [SetUp]
    public void CreateFolder() => Folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(Folder, recursive: true);

    protected static async Task<(int Code, string Output, string Error)> Run(string[] args, string input = "", bool showsOnTerminal = false)
    {
        using var source = new CancellationTokenSource();
        var output = new StringWriter();
        var error = new StringWriter();
        using var stdin = new MemoryStream(Encoding.UTF8.GetBytes(input));
        int code = await KimiCommand.RunAsync(args, new CliStreams(stdin, output, error, IsTerminal: false) { ShowsOnTerminal = showsOnTerminal }, source);
        return (code, output.ToString(), error.ToString());
    }
}
