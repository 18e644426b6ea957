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
