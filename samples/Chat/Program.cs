// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

// A terminal chat on the library's public face. Usage: dotnet run --project samples/Chat [-- --model DIR] [--temperature T] [--seed N] [--system TEXT]
using System.Globalization;
using KimiCpu;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

string? folder = null;
string? system = null;
var options = new GenerationOptions { Temperature = 0.6f };
try
{
    for (int i = 0; i < args.Length; i += 2)
    {
        string value = i + 1 < args.Length ? args[i + 1] : throw new FormatException($"{args[i]} needs a value.");
        switch (args[i])
        {
            case "--model":
                folder = value;
                break;
            case "--system":
                system = value;
                break;
            case "--temperature":
                options = options with { Temperature = float.Parse(value, CultureInfo.InvariantCulture) };
                break;
            case "--seed":
                options = options with { Seed = ulong.Parse(value, CultureInfo.InvariantCulture) };
                break;
            default:
                throw new FormatException($"There is no option {args[i]}; there are --model DIR, --temperature T, --seed N and --system TEXT.");
        }
    }

    Console.OutputEncoding = new System.Text.UTF8Encoding(false);
    using IKimiModel model = folder is null ? KimiModel.OpenEmbedded() : KimiModel.Open(folder);
    bool terminal = !Console.IsInputRedirected && !Console.IsOutputRedirected;
    bool colours = terminal && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
    using var cancellation = new CancellationSwitch();
    using var chat = new TerminalChat(model, model.CreateSession(), options, system, Console.In, Console.Out, Console.Error, terminal, colours) { ShowsOnTerminal = !Console.IsOutputRedirected };
    return await chat.RunAsync(cancellation) ? 0 : 1;
}
catch (Exception e) when (e is FormatException or OverflowException or CheckpointException or KimiException or ArgumentOutOfRangeException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}
