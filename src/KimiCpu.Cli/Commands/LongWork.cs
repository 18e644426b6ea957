// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;

namespace KimiCpu.Cli.Commands;

/// <summary>
/// Actions that work for long before they wait for anything. Ctrl-C cancels them, but the time in which they have to end counts only once an
/// action has returned its task: where a step cannot be cancelled, neither Ctrl-C nor SIGTERM would end the program before it is done.
/// </summary>
internal static class LongWork
{
    /// <param name="command">The command.</param>
    /// <param name="run">Its work; returns the exit code.</param>
    public static void SetLongAction(this Command command, Func<ParseResult, CancellationToken, int> run) =>
        command.SetAction((parsed, cancellationToken) => Task.Run(() => run(parsed, cancellationToken), CancellationToken.None));

    /// <inheritdoc cref="SetLongAction(Command, Func{ParseResult, CancellationToken, int})"/>
    public static void SetLongAction(this Command command, Func<ParseResult, CancellationToken, Task<int>> run) =>
        command.SetAction((parsed, cancellationToken) => Task.Run(() => run(parsed, cancellationToken), CancellationToken.None));
}
