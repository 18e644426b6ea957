// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.RegularExpressions;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace KimiCpu.Tests.Readme;

[TestFixture]
internal sealed partial class ReadmeTests
{
    private static string Readme => File.ReadAllText(Path.Combine(Repository.Root, "README.md"));

    [TestCase("README.md", "ReadmeExamples.cs")]
    [TestCase("docs/extensions-ai.md", "ExtensionsAIExamples.cs")]
    [TestCase("docs/server.md", "ServerExamples.cs")]
    public void Code_is_the_code_that_is_compiled_here(string page, string examples)
    {
        string compiled = File.ReadAllText(Path.Combine(Repository.Root, "tests", "KimiCpu.Tests", "Readme", examples));
        string[] lines = [.. compiled.Split('\n').Select(l => l.Trim())];
        MatchCollection blocks = CodeBlock().Matches(File.ReadAllText(Path.Combine(Repository.Root, page)));
        Assert.That(blocks, Is.Not.Empty);
        foreach (string line in blocks.SelectMany(b => b.Groups[1].Value.Split('\n')).Select(l => l.Trim()).Where(l => l.Length > 0))
        {
            Assert.That(lines, Does.Contain(line));
        }
    }

    [Test]
    public async Task Code_runs()
    {
        await ReadmeExamples.FirstProgram();
        using IKimiModel model = KimiModel.OpenEmbedded();
        ReadmeExamples.Session(model);
        await ReadmeExamples.ChatClient(model);
        using KimiSession loaded = model.LoadSession("anna.session");
        Assert.That(loaded.TokenCount, Is.Positive);
        File.Delete("anna.session");
    }

    [Test]
    public async Task Code_of_the_chat_client_runs()
    {
        await ExtensionsAIExamples.Client();
        ExtensionsAIExamples.Telemetry();
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["Kimi:Embedded"] = "true" });
        ExtensionsAIExamples.Services(builder);
        using IHost host = builder.Build();
        await host.StartAsync();
        Assert.That((await host.Services.GetRequiredService<IChatClient>().GetResponseAsync("What is the capital of France?", new ChatOptions { Temperature = 0 })).Text, Does.Contain("Paris"));
    }

    [Test]
    public void Paths_and_commands_exist()
    {
        foreach (Match path in RepositoryPath().Matches(Readme))
        {
            string full = Path.Combine(Repository.Root, path.Groups[1].Value);
            Assert.That(File.Exists(full) || Directory.Exists(full), path.Groups[1].Value);
        }

        var streams = new KimiCpu.Cli.Terminal.CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, false);
        IEnumerable<string> commands = KimiCpu.Cli.KimiCommand.MakeRoot(streams).Subcommands.Select(c => c.Name);
        Assert.That(CommandRow().Matches(Readme).Select(m => m.Groups[1].Value), Is.EquivalentTo(commands));
    }

    [GeneratedRegex("```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex CodeBlock();

    [GeneratedRegex(@"`((?:src|models|training|samples)/[\w./-]+)`")]
    private static partial Regex RepositoryPath();

    [GeneratedRegex(@"^\| `kimi (\w+)", RegexOptions.Multiline)]
    private static partial Regex CommandRow();
}
