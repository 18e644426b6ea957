// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

// A terminal chat on the library's public face. Usage: dotnet run --project samples/Chat [-- OPTIONS]; see ChatArguments.
using KimiCpu;
using KimiCpu.Cli.Terminal;
using KimiCpu.Samples;
using KimiCpu.Samples.Chat;

try
{
    ChatArguments arguments = ChatArguments.Parse(args);
    if (arguments.AsksForHelp)
    {
        Console.WriteLine($"A chat in the terminal, with kimi-nano where no --model is named. {ChatArguments.Usage}");
        return 0;
    }

    Console.OutputEncoding = new System.Text.UTF8Encoding(false);
    using IKimiModel model = arguments.Model is null ? KimiModel.OpenEmbedded() : KimiModel.Open(arguments.Model);
    bool terminal = !Console.IsInputRedirected && !Console.IsOutputRedirected;
    bool colours = terminal && TerminalColours.AreShown();
    using var cancellation = new CancellationSwitch();
    using var chat = new TerminalChat(model, model.CreateSession(), arguments.Options, arguments.System, ConsoleInput.Open(), Console.Out, Console.Error, terminal, colours) { ShowsOnTerminal = !Console.IsOutputRedirected };
    return await chat.RunAsync(cancellation) ? 0 : 1;
}
catch (OperationCanceledException)
{
    // In a pipe Ctrl-C ends the chat.
    return 130;
}
catch (Exception e) when (e is FormatException or KimiException or ArgumentException or NotSupportedException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}
