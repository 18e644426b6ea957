// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>A line of a terminal that is written again and again in its place.</summary>
/// <param name="error">Of the terminal.</param>
/// <param name="columns">Of the terminal as wide as it is now; what is longer would go on in the next row, and stay there. 0 where nobody knows.</param>
internal sealed class MovingLine(TextWriter error, Func<int> columns)
{
    private int _shown;

    /// <param name="text">Takes the place of what stood there before; cut where it is longer than the terminal is wide.</param>
    public void Show(string text)
    {
        int room = Room();
        string line = text[..Math.Min(text.Length, room)];
        error.Write("\r" + line.PadRight(Math.Min(_shown, room)));
        _shown = line.Length;
    }

    /// <summary>Takes the line away.</summary>
    public void End()
    {
        if (_shown > 0)
        {
            error.Write("\r" + new string(' ', Math.Min(_shown, Room())) + "\r");
            _shown = 0;
        }
    }

    /// <summary>Of the terminal that this process runs in.</summary>
    public static int ColumnsOfConsole()
    {
        try
        {
            return Console.WindowWidth;
        }
        catch (Exception e) when (e is IOException or PlatformNotSupportedException)
        {
            return 0;
        }
    }

    private int Room() => columns() is > 1 and var known ? known - 1 : int.MaxValue;
}
