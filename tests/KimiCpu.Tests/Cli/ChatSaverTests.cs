// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli;

/// <summary>When a chat is saved, and when not.</summary>
[TestFixture]
internal sealed class ChatSaverTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, Thinking = false, MaxTokens = 5 };

    private string _folder = "";

    private string FilePath => Path.Combine(_folder, "chat.session");

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    /// <summary>As where a Ctrl-C at the prompt and the end of the input come at once.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_chat_is_saved_once(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using TerminalChat chat = await ChatAsync(model, cancellation);
        var saver = new ChatSaver(FilePath, chat, saved: null, cancellation, Streams(TextWriter.Null));
        Assert.That(saver.Save(), Is.True);
        File.Delete(FilePath);
        bool[] saved = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(saver.Save, cancellationToken)));
        Assert.That(saved, Is.All.True);
        Assert.That(FilePath, Does.Not.Exist);
        Assert.That(cancellation.TryStop(), Is.False, "nothing runs any more");
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Ctrl_C_stops_a_save_and_there_is_no_other([Values] bool exists, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        KimiMessage[]? messages = exists ? [KimiMessage.User("Hi")] : null;
        if (exists)
        {
            using KimiSession session = model.CreateSession();
            ChatFile.Save(FilePath, session, messages!, Streams(TextWriter.Null), cancellationToken);
        }

        byte[] before = exists ? File.ReadAllBytes(FilePath) : [];
        using TerminalChat chat = await ChatAsync(model, cancellation);
        using var error = new ActingWriter(() => cancellation.TryStop());
        var saver = new ChatSaver(FilePath, chat, messages, cancellation, Streams(error));
        Assert.That(saver.Save(), Is.False);
        Assert.That(error.ToString(), Does.Contain("Saving the session (Ctrl-C leaves it)").And.Contain("The session was not saved").And.EndsWith((exists ? "is as it was." : "saved.") + Environment.NewLine));
        int told = error.ToString().Length;
        Assert.That(saver.Save(), Is.False, "nor at the end that comes second");
        Assert.That(error.ToString(), Has.Length.EqualTo(told));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(exists ? 1 : 0));
        Assert.That(exists ? File.ReadAllBytes(FilePath) : [], Is.EqualTo(before));
    }

    /// <summary>A terminal that is closed ends the input, too, and the chat saves itself at that.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_signal_lets_a_save_come_to_its_end(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using TerminalChat chat = await ChatAsync(model, cancellation);
        ChatSaver? saver = null;
        Task? signal = null;
        using var error = new ActingWriter(() =>
        {
            signal ??= Task.Run(saver!.SaveAtSignal, cancellationToken);
            SpinWait.SpinUntil(() => chat.HasEnded || cancellationToken.IsCancellationRequested);
        });
        saver = new ChatSaver(FilePath, chat, saved: null, cancellation, Streams(error));
        Assert.That(saver.Save(), Is.True);
        await signal!.WaitAsync(cancellationToken);
        Assert.That(error.ToString(), Does.Not.Contain("not saved"));
        Assert.That(FilePath, Does.Exist);
    }

    /// <summary>The answer cannot be stopped then; the signal would end nothing any more.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Where_nobody_reads_the_output_any_more_what_came_before_is_saved_at_a_signal(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var output = new StuckWriter(cancellationToken);
        using var input = new StringReader("My name is Anna.\nAnd my sister's is Berta.\nAnd my brother's is Carl.");
        using var chat = new TerminalChat(model, model.CreateSession(), s_options, null, input, output, TextWriter.Null, decorated: false, coloured: false);
        var saver = new ChatSaver(FilePath, chat, saved: null, cancellation, Streams(TextWriter.Null));
        Task<bool> talk = Task.Run(() => chat.RunAsync(cancellation), cancellationToken);
        try
        {
            await output.IsStuck.WaitAsync(cancellationToken);
            await Task.Run(saver.SaveAtSignal, cancellationToken).WaitAsync(cancellationToken);
            using KimiSession session = model.LoadSession(FilePath, cancellationToken: cancellationToken);
            Assert.That(session.TokenCount, Is.Positive);
            Assert.That(Encoding.UTF8.GetString(session.ApplicationData.Span), Does.Contain("Anna").And.Contain("Assistant").And.Not.Contain("Berta"));
        }
        finally
        {
            output.GoOn();
            await talk.WaitAsync(cancellationToken);
        }

        Assert.That(chat.Messages.Select(m => m.Content), Has.None.Contains("Carl"), "no question is answered any more");
    }

    private static CliStreams Streams(TextWriter error) => new(Stream.Null, TextWriter.Null, error, IsTerminal: true);

    private static async Task<TerminalChat> ChatAsync(KimiModel model, CancellationSwitch cancellation)
    {
        using var input = new StringReader("Who are you?");
        var chat = new TerminalChat(model, model.CreateSession(), s_options, null, input, TextWriter.Null, TextWriter.Null, decorated: false, coloured: false);
        await chat.RunAsync(cancellation);
        return chat;
    }

    /// <summary>Does something as soon as progress is shown.</summary>
    private sealed class ActingWriter(Action act) : StringWriter
    {
        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(string? value)
        {
            base.Write(value);
            act();
        }
    }

    /// <summary>Takes one answer and no more.</summary>
    private sealed class StuckWriter(CancellationToken cancellationToken) : TextWriter
    {
        private readonly TaskCompletionSource _stuck = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _goesOn = new();
        private int _answers;

        public override Encoding Encoding => Encoding.UTF8;

        public Task IsStuck => _stuck.Task;

        public void GoOn() => _goesOn.TrySetResult();

        public override void Write(char value)
        {
        }

        public override void WriteLine() => _answers++;

        public override void Write(string? value)
        {
            if (_answers > 0)
            {
                _stuck.TrySetResult();
                _goesOn.Task.Wait(cancellationToken);
            }
        }
    }
}
