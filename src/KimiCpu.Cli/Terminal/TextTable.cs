// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Spectre.Console;

namespace KimiCpu.Cli.Terminal;

/// <summary>Tables in plain text, with colours off where nobody looks.</summary>
internal static class TextTable
{
    private const int Width = 140;

    /// <param name="streams">Where to write.</param>
    /// <param name="headers">Column titles; those that begin with <c>&gt;</c> are aligned to the right.</param>
    /// <param name="rows">As many cells as headers.</param>
    public static void Write(CliStreams streams, string[] headers, IEnumerable<string[]> rows)
    {
        var table = new Table { Border = TableBorder.None };
        foreach (string header in headers)
        {
            bool right = header.StartsWith('>');
            var column = new TableColumn(Markup.Escape(header.TrimStart('>'))) { NoWrap = true, Alignment = right ? Justify.Right : Justify.Left };
            table.AddColumn(column);
        }

        foreach (string[] row in rows)
        {
            table.AddRow([.. row.Select(Markup.Escape)]);
        }

        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = streams.UsesColours ? AnsiSupport.Detect : AnsiSupport.No,
            Out = new AnsiConsoleOutput(streams.Output),
        });
        console.Profile.Width = Math.Max(Width, console.Profile.Width);
        console.Write(table);
    }
}
