// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.CommandLine.Parsing;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli;

/// <summary>The whole command line: parses, runs, and turns every failure into a sentence and an exit code.</summary>
internal static class KimiCommand
{
    public const int Ok = 0;
    public const int Failed = 1;
    public const int Usage = 2;
    public const int Cancelled = 130;

    /// <summary>As a shell reports a program that a closed pipe ended.</summary>
    public const int OutputClosed = 141;

    /// <param name="args">Without the program's name.</param>
    /// <param name="streams">Where to read and write.</param>
    /// <param name="cancellation">Ends the command as Ctrl-C does; cancelled where its terminal goes away, except that of a chat, which its signal ends.</param>
    public static async Task<int> RunAsync(string[] args, CliStreams streams, CancellationTokenSource cancellation)
    {
        ParseResult parsed = Parse(streams, OptionWords.WithAliases(args));
        string[] mistakes = parsed.CommandResult.Command is RootCommand && ModelNames.InPlaceOf(args) is { } other ? [other]
            : OptionWords.UnknownOptions(parsed) is { Length: > 0 } unknown ? unknown
            : parsed.Errors.Count > 0 ? [.. Relevant(parsed).Select(Explain)]
            : [.. OptionWords.WrongNumbers(parsed)];
        if (mistakes.Length > 0)
        {
            foreach (string mistake in mistakes)
            {
                await streams.Error.WriteLineAsync(mistake);
            }

            await streams.Error.WriteLineAsync("`kimi --help` lists the commands, `kimi COMMAND --help` their options.");
            return Usage;
        }

        try
        {
            var configuration = new InvocationConfiguration { Output = streams.Output, Error = streams.Error, EnableDefaultExceptionHandler = false };
            if (parsed.CommandResult.Command.Name is ChatCommand.Name or ServeCommand.Name)
            {
                // There Ctrl-C stops an answer, or lets running ones come to their end; the handler that this switches off ends the program two seconds later.
                configuration.ProcessTerminationTimeout = null;
            }
            else if (parsed.CommandResult.Command.Name == RepackCommand.Name)
            {
                // A slow drive takes its time for what has been handed to it.
                configuration.ProcessTerminationTimeout = TimeSpan.FromMinutes(1);
            }
            else if (parsed.CommandResult.Command.Name is TraceCommand.Name or LogitsCommand.Name or BenchCommand.Name)
            {
                // They notice between two layers of the model, and take away then what they have begun to write, or finish it.
                configuration.ProcessTerminationTimeout = TimeSpan.FromSeconds(15);
            }

            // The server has limits of its own for its end, and a chat saves itself where it is to be saved.
            TimeSpan? patience = parsed.CommandResult.Command.Name == ServeCommand.Name ? Timeout.InfiniteTimeSpan : configuration.ProcessTerminationTimeout;
            using HangUp? hangUp = patience is { } time ? new HangUp(cancellation, time) : null;
            return await parsed.InvokeAsync(configuration, cancellation.Token);
        }
        catch (OperationCanceledException)
        {
            await streams.Error.WriteLineAsync("Cancelled.");
            return Cancelled;
        }
        catch (IOException e) when (StandardOutput.IsClosed(e))
        {
            return OutputClosed;
        }
        catch (InsufficientMemoryException e) when (e.InnerException is not null)
        {
            // The library's own, which says what the system refused: it may be a thread.
            await streams.Error.WriteLineAsync(OptionWords.Translate(FirstLine(e), parsed));
            return Failed;
        }
        catch (OutOfMemoryException e)
        {
            // A text or an array can be too long for any memory, too.
            await streams.Error.WriteLineAsync($"This takes more memory than there is for it: {FirstLine(e)}");
            return Failed;
        }
        catch (Exception e) when (e is ArgumentException or FormatException)
        {
            await streams.Error.WriteLineAsync(OptionWords.Translate(FirstLine(e), parsed));
            return Usage;
        }
        catch (Exception e) when (e is KimiException or IOException or UnauthorizedAccessException or NotSupportedException)
        {
            await streams.Error.WriteLineAsync(OptionWords.Translate(FirstLine(e), parsed));
            return Failed;
        }
    }

    /// <summary>A word that begins with @ is taken as it is: the parser would read the words of a file of that name in its place, as options too.</summary>
    internal static ParseResult Parse(CliStreams streams, string[] args) => MakeRoot(streams).Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });

    internal static RootCommand MakeRoot(CliStreams streams) => new(
        "Runs Kimi K2 checkpoints on this machine, as downloaded. Without --model it uses kimi-nano, a very small model that comes along. "
        + "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 cancelled, 141 nobody reads the output any more.")
    {
        ChatCommand.Make(streams),
        GenerateCommand.Make(streams),
        ServeCommand.Make(streams),
        TokenizeCommand.Make(streams),
        RenderCommand.Make(streams),
        LogitsCommand.Make(streams),
        InspectCommand.Make(streams),
        VerifyCommand.Make(streams),
        RepackCommand.Make(streams),
        PlanCommand.Make(streams),
        TraceCommand.Make(streams),
        SimulateCommand.Make(streams),
        BenchCommand.Make(streams),
    };

    /// <summary>Where a word is no command, that a command is missing says nothing more.</summary>
    private static IEnumerable<ParseError> Relevant(ParseResult parsed)
    {
        ParseError[] named = [.. parsed.Errors.Where(e => parsed.UnmatchedTokens.Any(t => e.Message.Contains($"'{t}'", StringComparison.Ordinal)))];
        return parsed.CommandResult.Command is RootCommand && named.Length > 0 ? named : parsed.Errors;
    }

    /// <summary>The parser's message, or a better one where it names types of .NET.</summary>
    private static string Explain(ParseError error) =>
        error.SymbolResult is OptionResult { Tokens: [.., var last] } result && error.Message.Contains("System.", StringComparison.Ordinal)
            ? OptionWords.NumberExpected(result.Option, last.Value) ?? error.Message
            : error.Message;

    /// <summary>The message without .NET's "(Parameter 'x')" and what follows it. It may quote somebody else's file.</summary>
    private static string FirstLine(Exception e)
    {
        string message = e.Message.ReplaceLineEndings("\n").Split('\n')[0];
        int parameter = message.IndexOf(" (Parameter '", StringComparison.Ordinal);
        return VisibleText.Of(parameter < 0 ? message : message[..parameter]);
    }
}
