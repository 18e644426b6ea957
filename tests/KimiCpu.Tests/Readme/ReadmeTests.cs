// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;
using KimiCpu.Chat;
using KimiCpu.Generation;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry;
using OpenTelemetry.Trace;

namespace KimiCpu.Tests.Readme;

[TestFixture]
internal sealed partial class ReadmeTests
{
    private static string Readme => File.ReadAllText(Path.Combine(Repository.Root, "README.md"));

    [TestCase("README.md", "ReadmeExamples.cs")]
    [TestCase("docs/extensions-ai.md", "ExtensionsAIExamples.cs")]
    [TestCase("docs/server.md", "ServerExamples.cs")]
    [TestCase("src/PackageReadme.md", "PackageReadmeExamples.cs")]
    [TestCase("src/KimiCpu.Extensions.AI/PackageReadme.md", "ExtensionsAIExamples.cs")]
    [TestCase("src/KimiCpu.Server/PackageReadme.md", "ServerExamples.cs")]
    [TestCase("docs/structured-output.md", "StructuredOutputExamples.cs")]
    [TestCase("docs/chat.md", "ChatExamples.cs")]
    [TestCase("docs/recipes.md", "RecipeExamples.cs")]
    [TestCase("docs/gpu.md", "OpeningExamples.cs")]
    [TestCase("docs/expert-store.md", "OpeningExamples.cs")]
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

        // Whoever copies a block needs these as well; an application of ASP.NET Core has its own by itself.
        string code = string.Concat(blocks.Select(b => b.Groups[1].Value));
        Assert.That(lines.Where(l => l.StartsWith("using KimiCpu", StringComparison.Ordinal)).Where(l => !code.Contains(l, StringComparison.Ordinal)), Is.Empty);
    }

    /// <summary>A page with code that nobody compiles is out of date one day.</summary>
    [Test]
    public void Every_page_with_code_is_known_here()
    {
        IEnumerable<string> pages = new[] { Path.Combine(Repository.Root, "README.md") }
            .Concat(Directory.GetFiles(Path.Combine(Repository.Root, "docs"), "*.md"))
            .Concat(Directory.GetFiles(Path.Combine(Repository.Root, "src"), "*.md", SearchOption.AllDirectories))
            .Where(f => CodeBlock().IsMatch(File.ReadAllText(f))).Select(f => Path.GetRelativePath(Repository.Root, f).Replace('\\', '/'));
        IEnumerable<object?> known = typeof(ReadmeTests).GetMethod(nameof(Code_is_the_code_that_is_compiled_here))!.GetCustomAttributes(typeof(TestCaseAttribute), false).Select(a => ((TestCaseAttribute)a).Arguments[0]);
        Assert.That(pages, Is.SubsetOf(known));
    }

    [Test]
    public async Task Code_runs()
    {
        await ReadmeExamples.FirstProgram();
        await PackageReadmeExamples.FirstProgram();
        using IKimiModel model = KimiModel.OpenEmbedded();
        try
        {
            ReadmeExamples.Session(model);
        }
        finally
        {
            File.Delete("anna.session");
        }

        await ReadmeExamples.ChatClient(model);
        Assert.That(System.Text.Json.JsonDocument.Parse(StructuredOutputExamples.Weather(model)).RootElement.TryGetProperty("city", out _));
        Assert.That(ChatExamples.Tools(model), Is.Not.Empty);
    }

    [Test]
    public async Task Code_of_the_chat_client_runs()
    {
        var spans = new List<Activity>();
        using (TracerProvider tracer = ExtensionsAIExamples.Telemetry().Spans.AddInMemoryExporter(spans).Build())
        {
            await ExtensionsAIExamples.Client();
        }

        Assert.That(spans.Select(s => s.DisplayName), Does.Contain("chat kimi-nano").And.Contain("generate kimi-nano"), "the page's client is one of the page's sources");
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["Kimi:Embedded"] = "true" });
        ExtensionsAIExamples.Services(builder);
        using IHost host = builder.Build();
        await host.StartAsync();
        Assert.That((await host.Services.GetRequiredService<IChatClient>().GetResponseAsync("What is the capital of France?", new ChatOptions { Temperature = 0 })).Text, Does.Contain("Paris"));
    }

    [Test]
    [CancelAfter(120_000)]
    public async Task Recipes_run(CancellationToken cancellationToken)
    {
        using IKimiModel model = KimiModel.OpenEmbedded();
        List<KimiMessage> messages = await RecipeExamples.Conversation(model, ["What is the capital of France?", "Who are you?"], cancellationToken);
        Assert.That(messages.Select(m => m.Role), Is.EqualTo(new[] { KimiRole.System, KimiRole.User, KimiRole.Assistant, KimiRole.User, KimiRole.Assistant }));
        (RecipeExamples.Forecast? forecast, GenerationResult written) = await RecipeExamples.Typed(model);
        Assert.That((forecast is not null, forecast?.City is not null), Is.EqualTo((written.FinishReason == FinishReason.Stop, written.FinishReason == FinishReason.Stop)), written.Text);

        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore().AddSingleton(model);
        await using WebApplication app = builder.Build();
        RecipeExamples.Page(app);
        await app.StartAsync(cancellationToken);
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        string events = await http.GetStringAsync("/ask?question=What%20is%20the%20capital%20of%20France%3F", cancellationToken);
        Assert.That(events, Does.StartWith("data: ").And.Contain("\n\ndata: ").And.EndWith("\n\n"));
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
        string package = File.ReadAllText(Path.Combine(Repository.Root, "src", "PackageReadme.md"));
        Assert.That(CommandLine().Matches(Readme + package).Select(m => m.Groups[1].Value).Distinct(), Is.Not.Empty.And.SubsetOf(commands));
    }

    /// <summary>What is to be typed; what has a prompt or a text of its own would be read from a file.</summary>
    [Test]
    public void Command_lines_of_the_pages_are_understood()
    {
        var streams = new KimiCpu.Cli.Terminal.CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, false);
        System.CommandLine.RootCommand root = KimiCpu.Cli.KimiCommand.MakeRoot(streams);
        foreach (string page in Directory.GetFiles(Path.Combine(Repository.Root, "docs"), "*.md").Append(Path.Combine(Repository.Root, "README.md")))
        {
            foreach (string line in CodeLine().Matches(File.ReadAllText(page)).Select(m => m.Groups[1].Value))
            {
                Assert.That(root.Parse(line).Errors.Select(e => e.Message), Is.Empty, $"{page}: kimi {line}");
            }
        }
    }

    [TestCase("README.md")]
    [TestCase("docs/gpu.md")]
    public void How_a_Gpu_is_used_from_the_command_line_is_said(string page) =>
        Assert.That(CodeLine().Matches(File.ReadAllText(Path.Combine(Repository.Root, page))).Select(m => m.Groups[1].Value), Has.Some.Match("^chat .*--device auto").And.Some.Match("^plan .*--gpu 24GB"));

    /// <summary>A name that nobody but the library can use is no help.</summary>
    [Test]
    public void Members_that_the_pages_name_are_public()
    {
        // Not those that are loaded by now, which depends on the tests before.
        Assembly[] assemblies =
        [
            typeof(KimiModel).Assembly, typeof(KimiCpu.Checkpoints.Checkpoint).Assembly, typeof(KimiCpu.Compute.WeightMatrix).Assembly, typeof(KimiCpu.Cpu.CpuBackend).Assembly, typeof(KimiCpu.Cuda.CudaBackend).Assembly,
            typeof(KimiCpu.Extensions.AI.KimiChatClient).Assembly, typeof(KimiCpu.Server.KimiServerOptions).Assembly, typeof(KimiCpu.Cli.KimiCommand).Assembly,
        ];
        Type[] types = [.. assemblies.SelectMany(a => a.GetTypes())];
        foreach (string page in Directory.GetFiles(Path.Combine(Repository.Root, "docs"), "*.md").Append(Path.Combine(Repository.Root, "README.md")))
        {
            foreach (Match name in MemberName().Matches(File.ReadAllText(page)))
            {
                Type[] meant = [.. types.Where(t => t.Name == name.Groups[1].Value)];
                Assert.That(meant, Has.All.Matches<Type>(t => t!.IsPublic && t.GetMember(name.Groups[2].Value).Length > 0), $"{page}: {name.Value}");
            }
        }
    }

    /// <summary>Of two cards, nvidia-smi's first need not be the driver's.</summary>
    [Test]
    public async Task Whoever_names_a_Gpu_by_its_number_reads_whose_numbers_these_are()
    {
        foreach (string command in new[] { "chat", "generate", "serve", "bench" })
        {
            var output = new StringWriter();
            var streams = new KimiCpu.Cli.Terminal.CliStreams(Stream.Null, output, TextWriter.Null, false);
            using var source = new CancellationTokenSource();
            await KimiCpu.Cli.KimiCommand.RunAsync([command, "--help"], streams, source);
            Assert.That(Blanks().Replace(output.ToString(), " "), Does.Contain("CUDA_DEVICE_ORDER=PCI_BUS_ID"), command);
        }

        Assert.That(File.ReadAllText(Path.Combine(Repository.Root, "docs", "gpu.md")), Does.Contain("`CUDA_DEVICE_ORDER=PCI_BUS_ID`"));
    }

    [GeneratedRegex("```csharp\r?\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex CodeBlock();

    [GeneratedRegex(@"`((?:src|models|training|samples)/[\w./-]+)`")]
    private static partial Regex RepositoryPath();

    [GeneratedRegex(@"^\| `kimi (\w+)", RegexOptions.Multiline)]
    private static partial Regex CommandRow();

    /// <summary>A line of a block, up to what is said about it.</summary>
    [GeneratedRegex("^kimi ([^#\r\n]+)", RegexOptions.Multiline)]
    private static partial Regex CodeLine();

    [GeneratedRegex(@"`([A-Z]\w+)\.([A-Z]\w+)[`(]")]
    private static partial Regex MemberName();

    [GeneratedRegex("^kimi ([a-z]+)", RegexOptions.Multiline)]
    private static partial Regex CommandLine();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Blanks();
}
