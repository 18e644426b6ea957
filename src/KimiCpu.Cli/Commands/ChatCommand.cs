// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi chat</c>.</summary>
internal static class ChatCommand
{
    public static Command Make(CliStreams streams)
    {
        var model = new ModelOptions();
        var sampling = new SamplingOptions();
        var system = new Option<string?>("--system") { Description = "An instruction for the model.", HelpName = "TEXT" };
        var command = new Command("chat", "Talks with the model. At a terminal: /reset, /think on|off, /exit, Ctrl-C stops an answer. In a pipe: a question a line.") { system };
        model.AddTo(command);
        sampling.AddTo(command);
        command.SetAction(async (parsed, _) =>
        {
            var options = sampling.Read(parsed);
            using KimiModel opened = model.Open(parsed, streams);
            using var cancellation = new CancellationSwitch();
            using var input = new StreamReader(streams.Input);
            await new TerminalChat(opened, options, parsed.GetValue(system), input, streams.Output, streams.Error, streams.IsTerminal, streams.UsesColours).RunAsync(cancellation);
            return KimiCommand.Ok;
        });
        return command;
    }
}
