// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class TypedInputTests
{
    [TestCase("Привет, 世界 🙂\r\n\u001a\r\n", ExpectedResult = "Привет, 世界 🙂\r\n")]
    [TestCase("\u001a\r\nnever read", ExpectedResult = "")]
    [TestCase("a\u001ab\r\nᨀ\r\n", ExpectedResult = "a\u001ab\r\nᨀ\r\n", Description = "Only at the beginning of a line, and whole: ᨀ is U+1A00.")]
    [TestCase("no end", ExpectedResult = "no end")]
    public async Task<string> A_line_of_control_z_ends_what_is_typed(string typed)
    {
        using var input = new TypedInput(new Lines(typed));
        return await new CliStreams(input, TextWriter.Null, TextWriter.Null, IsTerminal: false) { InputEncoding = Encoding.Unicode }.ReadTextAsync(CancellationToken.None);
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
