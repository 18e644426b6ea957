// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Commands;

[TestFixture]
internal sealed class PromptTextTests
{
    [TestCase("a\nb\n\nSum it up.", "a\nb\n", "Sum it up.", false)]
    [TestCase("a\r\nb\n\nSum it up.", "a\r\nb\r\n", "Sum it up.", false)]
    [TestCase("Sum it up.", "", "Sum it up.", false)]
    [TestCase("Sum it up.", "\n", "Sum it up.", false)]
    [TestCase("a", "a\n", "", false)]
    [TestCase("a", "a\n", null, false)]
    [TestCase("ROMEO:\nWhat", "ROMEO:\n", "What", true)]
    [TestCase("ROMEO:\n", "ROMEO:\n", null, true)]
    public async Task What_is_piped_in_goes_before_the_prompt(string expected, string input, string? prompt, bool raw)
    {
        var streams = new CliStreams(new MemoryStream(Encoding.UTF8.GetBytes(input)), TextWriter.Null, TextWriter.Null, IsTerminal: false);
        Assert.That(await PromptText.ReadAsync(prompt, raw, streams, CancellationToken.None), Is.EqualTo(expected));
    }

    /// <summary>It may be the rest of a loop's lines, or of a script, which nobody meant to ask about.</summary>
    [TestCase("(6 bytes of standard input go before PROMPT)", "\u00E4\nb\u00A9\n", "Sum it up.", true, Description = "Without the end of the last line.")]
    [TestCase("", "a\nb\n", "Sum it up.", false)]
    [TestCase("", "\n", "Sum it up.", true)]
    [TestCase("", "a\nb\n", null, true)]
    public async Task What_goes_before_the_prompt_is_told_at_a_terminal(string expected, string input, string? prompt, bool terminal)
    {
        var error = new StringWriter();
        var streams = new CliStreams(new MemoryStream(Encoding.UTF8.GetBytes(input)), TextWriter.Null, error, IsTerminal: false) { ShowsProgress = terminal };
        await PromptText.ReadAsync(prompt, raw: false, streams, CancellationToken.None);
        Assert.That(error.ToString(), Is.EqualTo(expected.Length > 0 ? expected + Environment.NewLine : ""));
    }

    /// <summary>As in <c>kimi generate "…" &gt; answer</c>, where the output alone is a file.</summary>
    [Test]
    public async Task A_keyboard_is_not_waited_for_beside_a_prompt()
    {
        var streams = new CliStreams(new MemoryStream("typed"u8.ToArray()), TextWriter.Null, TextWriter.Null, IsTerminal: false) { IsTyped = true };
        Assert.That(await PromptText.ReadAsync("Hello", raw: false, streams, CancellationToken.None), Is.EqualTo("Hello"));
        Assert.That(await PromptText.ReadAsync(null, raw: false, streams, CancellationToken.None), Is.EqualTo("typed"));
    }

    /// <summary>Nobody would know what is waited for: a service or a script may have left the program such an input.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task An_input_that_does_not_end_is_told(CancellationToken cancellationToken)
    {
        using var input = new OpenInput(cancellationToken);
        using var error = new NoticeWriter();
        Task<string> reading = PromptText.ReadAsync("Hello", raw: false, new CliStreams(input, TextWriter.Null, error, IsTerminal: false), cancellationToken);
        Assert.That(await error.Notice.WaitAsync(cancellationToken), Does.Contain("end of standard input").And.Contain("< /dev/null"));
        input.End();
        Assert.That(await reading, Is.EqualTo("Hello"));
    }

    private sealed class NoticeWriter : StringWriter
    {
        private readonly TaskCompletionSource<string?> _notice = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<string?> Notice => _notice.Task;

        public override void WriteLine(string? value) => _notice.TrySetResult(value);
    }

    private sealed class OpenInput(CancellationToken cancellationToken) : MemoryStream
    {
        private readonly TaskCompletionSource _end = new();

        public void End() => _end.SetResult();

        public override int Read(byte[] buffer, int offset, int count)
        {
            _end.Task.Wait(cancellationToken);
            return 0;
        }

        public override int Read(Span<byte> buffer)
        {
            _end.Task.Wait(cancellationToken);
            return 0;
        }

        public override void CopyTo(Stream destination, int bufferSize) => _end.Task.Wait(cancellationToken);
    }
}
