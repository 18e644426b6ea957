// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Spectre.Console;

namespace KimiCpu.Cli.Terminal;

/// <summary>Tables in plain text, a row a line.</summary>
internal static class TextTable
{
    /// <summary>A table that has less room than it needs loses cells, numbers too; a terminal only goes on in its next row.</summary>
    private const int Unlimited = int.MaxValue / 2;

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

        var text = new StringWriter();
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, Out = new AnsiConsoleOutput(text) });
        console.Profile.Width = Unlimited;
        console.Write(table);

        // Where one cell is wider than the terminal, the blanks behind the others would be empty rows of it.
        using var lines = new StringReader(text.ToString());
        while (lines.ReadLine() is { } line)
        {
            streams.Output.WriteLine(line.TrimEnd(' '));
        }
    }
}
