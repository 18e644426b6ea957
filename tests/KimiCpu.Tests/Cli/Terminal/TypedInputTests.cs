// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class TypedInputTests
{
    /// <summary>A circumflex stands for the key: cases with control characters in their names are not run.</summary>
    [TestCase("Привет, 世界 🙂\r\n^\r\n", ExpectedResult = "Привет, 世界 🙂\r\n")]
    [TestCase("^\r\nnever read", ExpectedResult = "")]
    [TestCase("a^b\r\nᨀ\r\n", ExpectedResult = "a^b\r\nᨀ\r\n", Description = "Only at the beginning of a line, and whole: ᨀ is U+1A00.")]
    [TestCase("no end", ExpectedResult = "no end")]
    public async Task<string> A_line_of_control_z_ends_what_is_typed(string typed)
    {
        const char ControlZ = '\u001a';
        using var input = new TypedInput(new Lines(typed.Replace('^', ControlZ)));
        string read = await new CliStreams(input, TextWriter.Null, TextWriter.Null, IsTerminal: false) { InputEncoding = Encoding.Unicode }.ReadTextAsync(CancellationToken.None);
        return read.Replace(ControlZ, '^');
    }

    /// <summary>As a console gives them.</summary>
    private sealed class Lines(string text) : MemoryStream(Encoding.Unicode.GetBytes(text))
    {
        public override int Read(byte[] buffer, int offset, int count)
        {
            ReadOnlySpan<byte> rest = GetBuffer().AsSpan((int)Position);
            int end = rest.IndexOf((byte)'\n') + sizeof(char);
            return base.Read(buffer, offset, end > 1 ? Math.Min(count, end) : count);
        }

        public override byte[] GetBuffer() => ToArray();
    }
}
