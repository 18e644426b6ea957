// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class CliStreamsTests
{
    private const string Greeting = "Grüße";

    /// <summary>A console of Windows sends what is typed in its code page.</summary>
    [TestCase("iso-8859-1")]
    [TestCase("utf-16")]
    [TestCase("utf-8")]
    public async Task Input_is_read_in_its_encoding(string name)
    {
        Assert.That(await Typed(name).ReadTextAsync(CancellationToken.None), Is.EqualTo(Greeting));
        Assert.That(Encoding.UTF8.GetString(Typed(name).ReadBytes()), Is.EqualTo(Greeting));
    }

    /// <summary>In UTF-16 these characters are the bytes of another encoding's byte order mark.</summary>
    [Test]
    public async Task What_is_typed_in_UTF16_is_taken_for_nothing_else()
    {
        const string Hangul = "\uBBEF\u01BF";
        var streams = new CliStreams(new MemoryStream(Encoding.Unicode.GetBytes(Hangul)), TextWriter.Null, TextWriter.Null, IsTerminal: false) { InputEncoding = Encoding.Unicode };
        Assert.That(await streams.ReadTextAsync(CancellationToken.None), Is.EqualTo(Hangul));
    }

    /// <summary>The answer would be about "M\uFFFDller".</summary>
    [TestCase("generate")]
    [TestCase("generate", "What is this about?")]
    [TestCase("trace", "--output", "kimicpu-never-written")]
    public async Task Text_that_is_not_UTF8_is_refused(params string[] args)
    {
        using var source = new CancellationTokenSource();
        var error = new StringWriter();
        var streams = new CliStreams(new MemoryStream(Encoding.Latin1.GetBytes("M\u00FCller")), TextWriter.Null, error, IsTerminal: false);
        Assert.That(await KimiCommand.RunAsync(args, streams, source), Is.EqualTo(KimiCommand.Usage));
        Assert.That(error.ToString(), Does.StartWith("Standard input is not UTF-8: byte 2 is 0xFC. "));
        string remedy = OperatingSystem.IsWindows() ? "`$OutputEncoding = [Text.Encoding]::UTF8`" : "`iconv -c -f UTF-8 -t UTF-8`";
        Assert.That(error.ToString(), Does.Contain(remedy).And.EndsWith($".{Environment.NewLine}"));
    }

    [Test]
    public async Task Files_that_are_not_UTF8_are_refused()
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            string file = Path.Combine(folder, "text");
            await File.WriteAllBytesAsync(file, Encoding.Latin1.GetBytes("M\u00FCller"));
            using var source = new CancellationTokenSource();
            var error = new StringWriter();
            Assert.That(await KimiCommand.RunAsync(["trace", "--file", file, "--output", Path.Combine(folder, "trace")], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), source), Is.EqualTo(KimiCommand.Usage));
            Assert.That(error.ToString(), Does.StartWith($"--file, '{file}', is not UTF-8: byte 2 is 0xFC."));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Test]
    public async Task Text_in_UTF16_says_so_by_its_mark()
    {
        var streams = new CliStreams(new MemoryStream([.. Encoding.Unicode.GetPreamble(), .. Encoding.Unicode.GetBytes(Greeting)]), TextWriter.Null, TextWriter.Null, IsTerminal: false);
        Assert.That(await streams.ReadTextAsync(CancellationToken.None), Is.EqualTo(Greeting));
    }

    [Test]
    public void Typed_text_that_the_terminal_has_cut_is_refused()
    {
        Assert.That(() => Cut("a\nbcde\nf"), Throws.TypeOf<FormatException>().With.Message.Contains("4 bytes of a line"));
        Assert.That(Cut("a\nbcd\nefg"), Is.EqualTo("a\nbcd\nefg"u8.ToArray()));

        static byte[] Cut(string text) => new CliStreams(new MemoryStream(Encoding.UTF8.GetBytes(text)), TextWriter.Null, TextWriter.Null, IsTerminal: true) { LongestLine = 4 }.ReadBytes();
    }

    /// <summary>The terminal of Linux gives them as escape codes, wherever the output goes.</summary>
    [TestCase("a^[Db\n^[200~c\td^[201~\n", "ab\nc\td\n")]
    [TestCase("^Hello ^Oh^OA^", "Hello Oh", Description = "Esc alone takes no letter.")]
    public void Keys_are_no_text_where_it_is_typed(string typed, string expected)
    {
        // The test's name can have no such character.
        typed = typed.Replace('^', '\u001b');
        Assert.That(Read(longestLine: 100), Is.EqualTo(expected));
        Assert.That(Read(longestLine: int.MaxValue), Is.EqualTo(typed), "in a pipe");
        byte[] latin = [.. Encoding.Latin1.GetBytes("\u00FC\u001b[D")];
        Assert.That(new CliStreams(new MemoryStream(latin), TextWriter.Null, TextWriter.Null, IsTerminal: false) { LongestLine = 100 }.ReadBytes(), Is.EqualTo(latin), "what is no UTF-8 is told as it is");

        string Read(int longestLine) => Encoding.UTF8.GetString(
            new CliStreams(new MemoryStream(Encoding.UTF8.GetBytes(typed)), TextWriter.Null, TextWriter.Null, IsTerminal: false) { LongestLine = longestLine }.ReadBytes());
    }

    [Test]
    public async Task A_chat_reads_its_questions_in_the_encoding_of_its_input()
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            string file = Path.Combine(folder, "a.session");
            using var source = new CancellationTokenSource();
            Assert.That(await KimiCommand.RunAsync(["chat", "--no-think", "--tokens", "1", "--session", file], Typed("iso-8859-1"), source), Is.Zero);
            using KimiModel model = KimiModel.OpenEmbedded();
            using KimiSession session = model.LoadSession(file);
            Assert.That(Encoding.UTF8.GetString(session.ApplicationData.Span), Does.Contain(Greeting));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static CliStreams Typed(string name)
    {
        var encoding = Encoding.GetEncoding(name);
        return new CliStreams(new MemoryStream(encoding.GetBytes(Greeting)), TextWriter.Null, TextWriter.Null, IsTerminal: false) { InputEncoding = encoding };
    }
}
