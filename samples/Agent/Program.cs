// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

// An agent in the terminal: the model calls C# functions, and the tools of a Model Context Protocol server.
// Usage: dotnet run --project samples/Agent [-- OPTIONS]; see AgentArguments.
using System.Runtime.InteropServices;
using KimiCpu;
using KimiCpu.Cli.Terminal;
using KimiCpu.Extensions.AI;
using KimiCpu.Samples;
using KimiCpu.Samples.Agent;
using Microsoft.Extensions.AI;
using ModelContextProtocol;

try
{
    AgentArguments arguments = AgentArguments.Parse(args);
    if (arguments.AsksForHelp)
    {
        Console.WriteLine($"An agent in the terminal, with kimi-nano where no --model is named. {AgentArguments.Usage}");
        return 0;
    }

    if (arguments.ServesDemo)
    {
        // At a terminal Ctrl-C reaches the agent's server, too, and is meant for an answer. It ends when the agent does.
        using var interruption = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
        await DemoServer.RunAsync();
        return 0;
    }

    Console.OutputEncoding = new System.Text.UTF8Encoding(false);
    using IKimiModel model = arguments.Model is null ? KimiModel.OpenEmbedded() : KimiModel.Open(arguments.Model);
    using var timers = new Timers(Console.Error);
    await using McpTools? server = arguments.Server is null ? null : await McpTools.ConnectAsync(arguments.Server);

    // Of two tools of one name the server's is taken.
    AIFunction[] tools = [.. (server?.Functions ?? []).Concat(LocalTools.All(timers)).DistinctBy(f => f.Name)];
    using IChatClient client = FunctionLoop.Around(model.AsIChatClient());
    bool terminal = !Console.IsInputRedirected && !Console.IsOutputRedirected;
    using var cancellation = new CancellationSwitch();
    if (terminal)
    {
        Console.Error.WriteLine($"{model.Info.Name}. {model.Placement}");
        Console.Error.WriteLine($"Tools: {string.Join(", ", tools.Select(t => t.Name))}. /exit leaves; Ctrl-C stops an answer.");
    }

    var agent = new TerminalAgent(client, arguments.OptionsWith(tools), ConsoleInput.Open(), Console.Out, terminal, terminal && TerminalColours.AreShown());
    await agent.RunAsync(cancellation.Begin, cancellation.End);
    return 0;
}
catch (Exception e) when (e is FormatException or KimiException or ArgumentException or NotSupportedException or McpException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}
