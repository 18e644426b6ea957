// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
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
        string before = TimeInParis();
        (string output, _) = await RunAsync(server.Functions, "What time is it in Paris?", "What time is it in Atlantis?");
        string after = TimeInParis();
        Assert.That(output, Does.Contain("-> get_time {\"city\":\"Paris\"}"));
        Assert.That(output, Does.Contain($"<- {before}\nIt is {before} in Paris.").Or.Contain($"<- {after}\nIt is {after} in Paris."));
        Assert.That(output, Does.Match("<- [^{}\n]*No time zone is named after 'Atlantis'").And.Not.Contain("isError"), "the server's words reach the model");

        static string TimeInParis() => TimeZoneInfo.ConvertTimeBySystemTimeZoneId(DateTimeOffset.UtcNow, OperatingSystem.IsWindows() ? "Romance Standard Time" : "Europe/Paris").ToString("HH:mm", CultureInfo.InvariantCulture);
    }

    /// <summary>Of the cities that kimi-nano was trained with.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "Windows finds cities through ICU, which the sample has and the tests have not.")]
    public void The_clock_knows_cities([Values("Paris", "new york", "Los Angeles", "Hong Kong", "Sydney", "Cairo", "Reykjavik", "Buenos Aires")] string city) =>
        Assert.That(WorldClock.TimeIn(city), Does.Match("^[0-2][0-9]:[0-5][0-9]$"));

    [Test]
    public void The_demos_server_is_started_by_what_runs_the_agent()
    {
        string assembly = typeof(DemoServer).Assembly.Location;
        Assert.That(DemoServer.CommandOf("/opt/agent/Agent", isOwn: true), Is.EqualTo(new[] { "/opt/agent/Agent", DemoServer.Option }));
        Assert.That(DemoServer.CommandOf("/opt/sdk/dotnet", isOwn: true), Is.EqualTo(new[] { "/opt/sdk/dotnet", assembly, DemoServer.Option }));
        Assert.That(DemoServer.CommandOf("/opt/tests/KimiCpu.Tests", isOwn: false), Is.EqualTo(new[] { "dotnet", assembly, DemoServer.Option }));
        Assert.That(DemoServer.CommandOf(null, isOwn: true), Is.EqualTo(new[] { "dotnet", assembly, DemoServer.Option }));
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
            Signals.Send(server, Signals.Interruption);
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

    /// <summary>The middleware's own limit is three failures in a row, after which it throws.</summary>
    [Test]
    public async Task A_tool_that_fails_again_and_again_tells_the_model_why()
    {
        AIFunction fail = AIFunctionFactory.Create(string () => throw new ArgumentException("No time zone is named so."), "fail");
        using var model = new Stubborn(calls: 6);
        (string output, TerminalAgent agent) = await RunAsync(model, [fail], decorated: false, () => new CancellationTokenSource(), "What time is it?", "And now?");
        Assert.That(agent.History.Count(m => m.Role == ChatRole.User), Is.EqualTo(2));
        Assert.That(output, Does.Match("I was told: .*No time zone is named so"));
    }

    /// <summary>The middleware would take the tools away after 40 rounds, and with them all that is cached.</summary>
    [Test]
    public async Task Calls_in_a_row_may_be_hundreds()
    {
        AIFunction fine = AIFunctionFactory.Create(() => "fine", "fine");
        using var model = new Stubborn(calls: 300);
        (string output, TerminalAgent agent) = await RunAsync(model, [fine], decorated: false, () => new CancellationTokenSource(), "Go.");
        Assert.That(agent.History.SelectMany(m => m.Contents).OfType<FunctionResultContent>().Count(), Is.EqualTo(300));
        Assert.That(output, Does.Contain("I was told: fine"));
    }

    [Test]
    public async Task An_answer_that_fails_is_forgotten_at_a_terminal_and_ends_a_script()
    {
        using var model = new Stubborn(calls: 0);
        (string output, TerminalAgent agent) = await RunAsync(model, [], decorated: true, () => new CancellationTokenSource(), "break", "Go on.");
        Assert.That(output, Does.Contain("It is broken.\n").And.Contain("I was told:"));
        Assert.That(agent.History.Count(m => m.Role == ChatRole.User), Is.EqualTo(1));
        Assert.That(async () => await RunAsync(model, [], decorated: false, () => new CancellationTokenSource(), "break"), Throws.InvalidOperationException);
    }

    /// <summary>A Ctrl-C that comes while the script ends finds no answer to stop; it would find one whose cancellation is disposed of.</summary>
    [Test]
    public async Task An_answer_that_fails_has_ended_before_its_cancellation_is_disposed_of()
    {
        using var model = new Stubborn(calls: 0);
        using var input = new StringReader("break");
        var agent = new TerminalAgent(model, new ChatOptions(), input, TextWriter.Null, decorated: false, coloured: false);
        CancellationTokenSource? source = null;
        int ends = 0;
        await Assert.ThatAsync(() => agent.RunAsync(() => source = new CancellationTokenSource(), End), Throws.InvalidOperationException.With.Message.EqualTo("It is broken."));
        Assert.That(ends, Is.EqualTo(1));

        void End()
        {
            ends++;
            source!.Cancel();
        }
    }

    private Task<(string Output, TerminalAgent Agent)> RunAsync(IEnumerable<AIFunction> tools, params string[] lines) => RunAsync(tools, () => new CancellationTokenSource(), lines);

    private async Task<(string Output, TerminalAgent Agent)> RunAsync(IEnumerable<AIFunction> tools, Func<CancellationTokenSource> begin, params string[] lines)
    {
        using KimiChatClient client = _model.AsIChatClient();
        return await RunAsync(client, tools, decorated: false, begin, lines);
    }

    private static async Task<(string Output, TerminalAgent Agent)> RunAsync(IChatClient inner, IEnumerable<AIFunction> tools, bool decorated, Func<CancellationTokenSource> begin, params string[] lines)
    {
        using IChatClient client = FunctionLoop.Around(inner);
        using var input = new StringReader(string.Join('\n', lines));
        using var output = new StringWriter { NewLine = "\n" };
        var agent = new TerminalAgent(client, AgentArguments.Parse(["--temperature", "0"]).OptionsWith(tools), input, output, decorated, coloured: false);
        await agent.RunAsync(begin, () => { });
        return (output.ToString(), agent);
    }

    /// <summary>A model that calls its only tool so many times and then says what it was told; asked to break it throws.</summary>
    private sealed class Stubborn(int calls) : IChatClient
    {
        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            ChatMessage[] turn = [.. messages.Reverse().TakeWhile(m => m.Role != ChatRole.User)];
            FunctionResultContent[] told = [.. turn.SelectMany(m => m.Contents).OfType<FunctionResultContent>()];
            AIContent said = messages.Last(m => m.Role == ChatRole.User).Text == "break" ? throw new InvalidOperationException("It is broken.")
                : told.Length < calls ? new FunctionCallContent($"functions.fail:{told.Length}", options!.Tools!.Single().Name)
                : new TextContent($"I was told: {told.FirstOrDefault()?.Result}");
            yield return new ChatResponseUpdate(ChatRole.Assistant, [said]);
        }

        public object? GetService(Type serviceType, object? serviceKey = null) => null;

        public void Dispose()
        {
        }
    }

    private sealed class WithSchema(AIFunction inner, string schema) : DelegatingAIFunction(inner)
    {
        public override JsonElement JsonSchema { get; } = JsonElement.Parse(schema);
    }
}
