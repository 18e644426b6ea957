// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// Drops what cannot be written: a terminal that has been closed, or a full drive, must end nothing whose progress or errors are written there. A chat is saved then,
/// and a command that fails ends with its code and not with a failure to say why.
/// </summary>
internal sealed class UnfailingWriter : TextWriter
{
    private readonly TextWriter _writer;

    private UnfailingWriter(TextWriter writer) => _writer = writer;

    public override Encoding Encoding => _writer.Encoding;

    /// <param name="writer">Takes what is written, as long as it does.</param>
    public static TextWriter Around(TextWriter writer) => new UnfailingWriter(writer);

    public override void Write(char value) => Try(() => _writer.Write(value));

    public override void Write(char[] buffer, int index, int count) => Try(() => _writer.Write(buffer, index, count));

    public override void Write(string? value) => Try(() => _writer.Write(value));

    /// <summary>At once, so that another thread's line cannot come in between.</summary>
    public override void WriteLine(string? value) => Try(() => _writer.WriteLine(value));

    public override void WriteLine() => Try(_writer.WriteLine);

    public override void Flush() => Try(_writer.Flush);

    private static void Try(Action write)
    {
        try
        {
            write();
        }
        catch (IOException)
        {
            // There is nowhere else to tell it.
        }
    }
}
