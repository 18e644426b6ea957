// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Terminal;

/// <summary>Where a command reads and writes: the console, or memory in tests.</summary>
/// <param name="Input">Standard input as bytes.</param>
/// <param name="Output">Data.</param>
/// <param name="Error">Progress and errors.</param>
/// <param name="IsTerminal">Whether a person looks at the output and types the input.</param>
internal sealed record CliStreams(Stream Input, TextWriter Output, TextWriter Error, bool IsTerminal)
{
    /// <summary>Whether a terminal shows the output, wherever the input comes from.</summary>
    public bool ShowsOnTerminal { get; init; } = IsTerminal;

    /// <summary>Whether a terminal shows what is written beside the output, wherever input and output go: a line there may move.</summary>
    public bool ShowsProgress { get; init; } = IsTerminal;

    /// <summary>Of the terminal that shows progress, as wide as it is now; 0 where nobody knows.</summary>
    public Func<int> Columns { get; init; } = () => 0;

    /// <summary>Whether colours and moving lines are welcome (https://no-color.org).</summary>
    public bool UsesColours => IsTerminal && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

    public static CliStreams OfConsole() => new(
        Console.OpenStandardInput(),
        StandardOutput.Open(),
        Console.Error,
        !Console.IsOutputRedirected && !Console.IsInputRedirected)
    {
        ShowsOnTerminal = !Console.IsOutputRedirected,
        ShowsProgress = !Console.IsErrorRedirected,
        Columns = MovingLine.ColumnsOfConsole,
    };

    /// <summary>All of the input as text; somebody may type it, and think better of it.</summary>
    public Task<string> ReadTextAsync(CancellationToken cancellationToken) => Task.Run(() => new StreamReader(Input).ReadToEnd(), CancellationToken.None).WaitAsync(cancellationToken);

    /// <summary>All of the input as it is.</summary>
    public byte[] ReadBytes()
    {
        using var bytes = new MemoryStream();
        Input.CopyTo(bytes);
        return bytes.ToArray();
    }
}
