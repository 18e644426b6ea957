// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Cli.Terminal;

/// <summary>Where a command reads and writes: the console, or memory in tests.</summary>
/// <param name="Input">Standard input as bytes.</param>
/// <param name="Output">Data.</param>
/// <param name="Error">Progress and errors, where they can be written.</param>
/// <param name="IsTerminal">Whether a person looks at the output and types the input.</param>
internal sealed record CliStreams(Stream Input, TextWriter Output, TextWriter Error, bool IsTerminal)
{
    /// <summary>Of these streams, and of all that are made of them.</summary>
    private readonly InputUse _use = new();

    /// <summary>Progress and errors; what cannot be written is dropped.</summary>
    public TextWriter Error { get; } = UnfailingWriter.Around(Error);

    /// <summary>Whether a terminal shows the output, wherever the input comes from.</summary>
    public bool ShowsOnTerminal { get; init; } = IsTerminal;

    /// <summary>Whether a person types the input, wherever the output goes.</summary>
    public bool IsTyped { get; init; } = IsTerminal;

    /// <summary>Whether a terminal shows what is written beside the output, wherever input and output go: a line there may move.</summary>
    public bool ShowsProgress { get; init; } = IsTerminal;

    /// <summary>Of the input's text. What is typed into a console of Windows comes in UTF-16.</summary>
    public Encoding InputEncoding { get; init; } = Encoding.UTF8;

    /// <summary>Bytes that a terminal keeps of a line that is typed.</summary>
    public int LongestLine { get; init; } = int.MaxValue;

    /// <summary>Of the terminal that shows progress, as wide as it is now; 0 where nobody knows.</summary>
    public Func<int> Columns { get; init; } = () => 0;

    /// <summary>Whether colours are welcome, and shown.</summary>
    public bool UsesColours { get; init; } = IsTerminal;

    /// <summary>Whether colours are welcome among the errors, and shown.</summary>
    public bool UsesColoursInErrors { get; init; } = IsTerminal;

    /// <summary>The option that has taken the input; null where none has.</summary>
    public string? InputTaker => _use.Taker;

    public static CliStreams OfConsole() => new(
        OpenInput(),
        StandardOutput.Open(),
        Console.Error,
        !Console.IsOutputRedirected && !Console.IsInputRedirected)
    {
        ShowsOnTerminal = !Console.IsOutputRedirected,
        IsTyped = !Console.IsInputRedirected,
        ShowsProgress = !Console.IsErrorRedirected,
        LongestLine = IsTypedOnLinux ? TypedLine.Longest : int.MaxValue,
        InputEncoding = IsTypedOnWindows ? Encoding.Unicode : Encoding.UTF8,
        UsesColours = !Console.IsOutputRedirected && !Console.IsInputRedirected && TerminalColours.AreShown(),
        UsesColoursInErrors = !Console.IsErrorRedirected && TerminalColours.AreShownInErrors(),
        Columns = MovingLine.ColumnsOfConsole,
    };

    private static bool IsTypedOnLinux => OperatingSystem.IsLinux() && !Console.IsInputRedirected;

    private static bool IsTypedOnWindows => OperatingSystem.IsWindows() && !Console.IsInputRedirected;

    /// <summary>Text of somebody else's file as the output may have it: on a terminal without control characters.</summary>
    public string Shown(string text) => ShowsOnTerminal ? VisibleText.Of(text) : text;

    /// <summary>All of the input as text; somebody may type it, and think better of it.</summary>
    public Task<string> ReadTextAsync(CancellationToken cancellationToken) => Task.Run(() => Utf8Text.Of(ReadBytes(), "Standard input"), CancellationToken.None).WaitAsync(cancellationToken);

    /// <summary>The same as <see cref="ReadBytes"/> gives it.</summary>
    public Task<byte[]> ReadBytesAsync(CancellationToken cancellationToken) => Task.Run(ReadBytes, CancellationToken.None).WaitAsync(cancellationToken);

    /// <summary>The input as text. What is typed has no byte order mark, and in UTF-16 its first characters may look like one of UTF-8.</summary>
    public StreamReader Reader() => new(Input, InputEncoding, detectEncodingFromByteOrderMarks: !InputEncoding.Equals(Encoding.Unicode));

    /// <summary>As long as lines are typed at a terminal of Linux; null where none are.</summary>
    public WholeLetters? EraseWholeLetters() => LongestLine == int.MaxValue ? null : new WholeLetters();

    /// <summary>All of the input as it is, where that is UTF-8, but keys that a terminal does not know; else as UTF-8.</summary>
    /// <exception cref="FormatException">A line was typed that is longer than the terminal keeps.</exception>
    public byte[] ReadBytes()
    {
        if (!InputEncoding.Equals(Encoding.UTF8))
        {
            return Encoding.UTF8.GetBytes(Reader().ReadToEnd());
        }

        using WholeLetters? letters = EraseWholeLetters();
        using var bytes = new MemoryStream();
        Input.CopyTo(bytes);
        byte[] all = bytes.ToArray();
        CheckLines(all);
        return LongestLine == int.MaxValue ? all : TypedLine.WithoutKeys(all);
    }

    /// <summary>The same for an option that takes the input in a file's place; the input is there once.</summary>
    /// <param name="option">Its name.</param>
    /// <exception cref="ArgumentException">Another option has taken it.</exception>
    /// <exception cref="FormatException">See <see cref="ReadBytes"/>.</exception>
    public byte[] TakeBytes(string option)
    {
        if (_use.Taker is { } other)
        {
            throw new ArgumentException($"{other} and {option} would both take standard input, which can be read once: name a file for one of them.");
        }

        _use.Taker = option;
        return ReadBytes();
    }

    private void CheckLines(ReadOnlySpan<byte> text)
    {
        if (LongestLine == int.MaxValue)
        {
            return;
        }

        foreach (Range line in text.Split((byte)'\n'))
        {
            if (text[line].Length >= LongestLine)
            {
                throw new FormatException(FormattableString.Invariant($"A terminal keeps {LongestLine:N0} bytes of a line, and what was beyond them is lost: let a file (`< FILE`) or a pipe bring longer ones."));
            }
        }
    }

    private static Stream OpenInput()
    {
        if (IsTypedOnLinux)
        {
            return TypedLine.OpenInput();
        }

        if (!IsTypedOnWindows)
        {
            return ClosedInput.IsRuntimesPipe() ? Stream.Null : Console.OpenStandardInput();
        }

        Console.InputEncoding = Encoding.Unicode;
        return new TypedInput(Console.OpenStandardInput());
    }

    private sealed class InputUse
    {
        public string? Taker { get; set; }
    }
}
