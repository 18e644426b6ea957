// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Text.Json;
using KimiCpu.Extensions.AI;
using KimiCpu.Samples.Agent;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Agents;

/// <summary>The sample's tool loop with the embedded model: functions of the process, and an MCP server that is a process of its own.</summary>
[TestFixture]
internal sealed class AgentSampleTests
{
    private KimiModel _model = null!;

    [OneTimeSetUp]
    public void Open() => _model = KimiModel.OpenEmbedded();

    [OneTimeTearDown]
    public void Close() => _model.Dispose();

    [Test]
    public async Task Functions_of_the_process_are_called_turn_by_turn()
    {
        using var timers = new Timers(TextWriter.Null);
        (string output, TerminalAgent agent) = await RunAsync(LocalTools.All(timers), "What is 37 * 12?", "Set a timer for 5 minutes.");
        Assert.That(output, Does.Contain("-> calculator {\"expression\":\"37 * 12\"}").And.Contain("<- 444").And.Contain("37 * 12 = 444."));
        Assert.That(output, Does.Contain("-> set_timer {\"minutes\":5}").And.Contain("<- ok").And.Contain("The timer is set for 5 minutes."));
        IEnumerable<string> ids = agent.History.SelectMany(m => m.Contents).OfType<FunctionCallContent>().Select(c => c.CallId);
        Assert.That(ids, Is.EqualTo(new[] { "functions.calculator:0", "functions.set_timer:1" }));
    }

    [Test]
    public async Task Tools_of_a_server_are_called()
    {
        await using McpTools server = await McpTools.ConnectAsync(DemoServer.Command);
        Assert.That(server.Functions.Select(f => f.Name), Is.EqualTo(new[] { "get_time" }));
        string before = WorldClock.TimeIn("Paris");
        (string output, _) = await RunAsync(server.Functions, "What time is it in Paris?", "What time is it in Atlantis?");
        string after = WorldClock.TimeIn("Paris");
        Assert.That(output, Does.Contain("-> get_time {\"city\":\"Paris\"}"));
        Assert.That(output, Does.Contain($"<- {before}\nIt is {before} in Paris.").Or.Contain($"<- {after}\nIt is {after} in Paris."));
        Assert.That(output, Does.Match("<- [^{}\n]*No time zone is named after 'Atlantis'").And.Not.Contain("isError"), "the server's words reach the model");
    }

    /// <summary>At a terminal Ctrl-C, which stops an answer, reaches the processes of servers, too.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "There is no signal to send.")]
    [CancelAfter(60_000)]
    public async Task An_interruption_does_not_end_the_demos_server(CancellationToken cancellationToken)
    {
        using Process server = Process.Start(new ProcessStartInfo(DemoServer.Command[0], DemoServer.Command.Skip(1)) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        try
        {
            Assert.That(await AskAsync("""{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"""), Does.Contain("kimicpu-demo"));
            await server.StandardInput.WriteLineAsync("""{"jsonrpc":"2.0","method":"notifications/initialized"}""");
            using (Process kill = Process.Start("kill", ["-INT", $"{server.Id}"]))
            {
                await kill.WaitForExitAsync(cancellationToken);
            }

            Assert.That(await AskAsync("""{"jsonrpc":"2.0","id":2,"method":"tools/list"}"""), Does.Contain("get_time"));
            server.StandardInput.Close();
            await server.WaitForExitAsync(cancellationToken);
        }
        finally
        {
            server.Kill();
        }

        async Task<string?> AskAsync(string request)
        {
            await server.StandardInput.WriteLineAsync(request);
            await server.StandardInput.FlushAsync(cancellationToken);
            return await server.StandardOutput.ReadLineAsync(cancellationToken);
        }
    }

    /// <summary>Servers of others have schemas that no constraint can be made of; their tools work all the same.</summary>
    [Test]
    public async Task A_tool_whose_schema_cannot_be_enforced_ends_no_conversation()
    {
        using var timers = new Timers(TextWriter.Null);
        AIFunction calculator = LocalTools.All(timers).Single(f => f.Name == "calculator");
        var odd = new WithSchema(calculator, """{"type":"object","properties":{"expression":{"type":"string"},"units":{"type":"array","uniqueItems":true}},"required":["expression"]}""");
        (_, TerminalAgent agent) = await RunAsync([odd], "What is 37 * 12?");
        Assert.That(agent.History[^1].Text, Is.Not.Empty);
    }

    [TestCase("this-program-does-not-exist")]
    [TestCase("dotnet", "--version")]
    [TestCase("cat", ExcludePlatform = "Win")]
    public void A_program_that_is_no_server_is_named(params string[] command) =>
        Assert.That(async () => await McpTools.ConnectAsync(command), Throws.InstanceOf<IOException>().With.Message.Contains($"'{string.Join(' ', command)}'"));

    [Test]
    public async Task A_stopped_answer_is_forgotten_and_the_next_one_works()
    {
        using var timers = new Timers(TextWriter.Null);
        bool first = true;
        (string output, TerminalAgent agent) = await RunAsync(LocalTools.All(timers), Begin, "What is 1 + 1?", "What is 37 * 12?");
        Assert.That(output, Does.StartWith("(stopped)").And.Contain("37 * 12 = 444."));
        Assert.That(agent.History.Count(m => m.Role == ChatRole.User), Is.EqualTo(1));

        CancellationTokenSource Begin()
        {
            var source = new CancellationTokenSource();
            if (first)
            {
                source.Cancel();
            }

            first = false;
            return source;
        }
    }

    private Task<(string Output, TerminalAgent Agent)> RunAsync(IEnumerable<AIFunction> tools, params string[] lines) => RunAsync(tools, () => new CancellationTokenSource(), lines);

    private async Task<(string Output, TerminalAgent Agent)> RunAsync(IEnumerable<AIFunction> tools, Func<CancellationTokenSource> begin, params string[] lines)
    {
        using IChatClient client = _model.AsIChatClient().AsBuilder().UseFunctionInvocation(configure: invocation => invocation.IncludeDetailedErrors = true).Build();
        using var input = new StringReader(string.Join('\n', lines));
        using var output = new StringWriter { NewLine = "\n" };
        var agent = new TerminalAgent(client, AgentArguments.Parse(["--temperature", "0"]).OptionsWith(tools), input, output, decorated: false, coloured: false);
        await agent.RunAsync(begin, () => { });
        return (output.ToString(), agent);
    }

    private sealed class WithSchema(AIFunction inner, string schema) : DelegatingAIFunction(inner)
    {
        public override JsonElement JsonSchema { get; } = JsonElement.Parse(schema);
    }
}
