// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class ChatCommandTests : CommandFixture
{
    [Test]
    public async Task Chat_answers_lines_of_a_pipe()
    {
        (int code, string output, string error) = await Run(["chat", "--temperature", "0"], "My name is Anna.\n\n/think off\nWhat is my name?\n/reset\n/nonsense\n/exit\nnever read\n");
        Assert.That(code, Is.EqualTo(KimiCommand.Failed), "not all was answered or done");
        Assert.That(output, Does.Contain("Anna").And.Not.Contain("never"));
        Assert.That(error, Does.Contain("/nonsense").And.Contain("anew").And.Contain("Reasoning is off"));
    }

    /// <summary>It is the error in which every long chat ends.</summary>
    [Test]
    public async Task A_question_that_is_too_long_is_told_with_the_option_that_helps()
    {
        (int code, string output, string error) = await Run(["chat", "--context", "20"], string.Concat(Enumerable.Repeat("hello ", 30)) + "\n");
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
        Assert.That(error, Does.Contain(" --context raises the limit, up to 8192. /reset begins anew.").And.Not.Contain("KimiModelOptions"));
    }

    [Test]
    public async Task Chat_goes_on_where_its_session_ended()
    {
        string file = Path.Combine(Folder, "anna.session");
        string[] chat = ["chat", "--temperature", "0", "--no-think", "--session", file];
        Assert.That((await Run([.. chat, "--system", "Be brief."], "My name is Anna.\n")).Code, Is.Zero);
        (int code, string output, string error) = await Run(chat, "What is my name?\n");
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(output, Does.Contain("Anna"));

        // At a terminal the notice and the line below the answer show what is cached.
        var lines = new StringWriter();
        using var source = new CancellationTokenSource();
        using var input = new MemoryStream("Who are you?\n/exit\n"u8.ToArray());
        Assert.That(await KimiCommand.RunAsync(chat, new CliStreams(input, TextWriter.Null, lines, IsTerminal: true), source), Is.Zero);
        Assert.That(lines.ToString(), Does.Match(@"The conversation of 5 messages goes on; it has \d+ tokens").And.Match(@"prompt \d+, \d+ cached, the rest at"));

        Assert.That(await Run([.. chat, "--system", "Be long."], ""), Is.EqualTo((KimiCommand.Usage, "", "The conversation has the instruction 'Be brief.'; leave --system out, or begin another session." + Environment.NewLine)));

        // Other arithmetic computes the conversation again, and says so.
        (code, output, error) = await Run([.. chat, "--exact"], "What is my name?\n");
        Assert.That(code, Is.Zero);
        Assert.That(error, Does.Match(@"^The session in \S*anna\.session was computed with fast arithmetic, and the model is open with exact arithmetic: [^\n]*\n$"));
        Assert.That(output, Does.Contain("Anna"));
        using (KimiModel model = KimiModel.OpenEmbedded())
        using (KimiSession session = model.CreateSession())
        {
            session.Save(file);
        }

        Assert.That((await Run(chat, "hi\n")).Error, Does.Contain("no conversation of `kimi chat`"));
    }

    [Test]
    public async Task A_place_where_a_session_cannot_be_saved_is_told_before_the_chat()
    {
        (int code, string output, string error) = await Run(["chat", "--session", Path.Combine(Folder, "none", "x")], "hi\n");
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
        Assert.That(error, Does.Contain("there is no folder").And.Contain("none"));
        (code, output, error) = await Run(["chat", "--session", Folder], "hi\n");
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
        Assert.That(error, Does.Contain("is a folder"));
        Assert.That(Directory.GetFileSystemEntries(Folder), Is.Empty);
        if (!OperatingSystem.IsWindows())
        {
            string link = Path.Combine(Folder, "link");
            File.CreateSymbolicLink(link, Path.Combine(Folder, "none", "x"));
            (code, output, error) = await Run(["chat", "--session", link], "hi\n");
            Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
            Assert.That(error, Does.Contain($"'{link}'").And.Contain($"there is no folder '{Path.Combine(Folder, "none")}'"));
        }
    }

    /// <summary>With other arithmetic all of it would be computed again for that.</summary>
    [Test]
    public async Task A_conversation_to_which_nothing_is_added_is_not_saved_again([Values("", "--exact")] string arithmetic, [Values("/exit\n", "/help\n", "/think off\n")] string input)
    {
        string file = Path.Combine(Folder, "anna.session");
        string[] chat = ["chat", "--no-think", "--session", file];
        Assert.That((await Run(chat, "My name is Anna.\n")).Code, Is.Zero);
        byte[] before = File.ReadAllBytes(file);
        var time = new DateTime(2020, 1, 2, 3, 4, 5, DateTimeKind.Utc);
        File.SetLastWriteTimeUtc(file, time);
        Assert.That((await Run([.. chat, .. arithmetic.Split(' ', StringSplitOptions.RemoveEmptyEntries)], input)).Code, Is.Zero);
        Assert.That(File.GetLastWriteTimeUtc(file), Is.EqualTo(time));
        Assert.That(File.ReadAllBytes(file), Is.EqualTo(before));
    }

    /// <summary>Another chat may have made the file meanwhile; and a file with the instruction alone would refuse the next one.</summary>
    [Test]
    public async Task A_chat_in_which_nothing_was_said_makes_no_file([Values("/exit\n", "/think off\n", "/reset\n", "")] string input)
    {
        string file = Path.Combine(Folder, "anna.session");
        Assert.That((await Run(["chat", "--session", file], input)).Code, Is.Zero);
        Assert.That((await Run(["chat", "--session", file, "--system", "Be brief."], input)).Code, Is.Zero);
        Assert.That(Directory.GetFileSystemEntries(Folder), Is.Empty);
        Assert.That((await Run(["chat", "--no-think", "--session", file, "--system", "Be long."], "Who are you?\n")).Code, Is.Zero);
        Assert.That(file, Does.Exist);
    }

    [Test]
    public async Task A_conversation_that_was_reset_is_not_in_its_file()
    {
        string file = Path.Combine(Folder, "anna.session");
        Assert.That((await Run(["chat", "--no-think", "--session", file, "--system", "Be brief."], "My name is Anna.\n/reset\n")).Code, Is.Zero);
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.LoadSession(file);
        Assert.That(session.TokenCount, Is.Zero);
        Assert.That(Encoding.UTF8.GetString(session.ApplicationData.Span), Does.Contain("Be brief.").And.Not.Contain("Anna"));
    }

    /// <summary>As a service that stops does it, and a terminal that is closed.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "There is no signal to send.")]
    [CancelAfter(120_000)]
    public async Task A_chat_that_a_signal_ends_is_saved([Values(15, 1)] int signal, [Values] bool answering, CancellationToken cancellationToken)
    {
        string file = Path.Combine(Folder, "anna.session");
        using (var kimi = new KimiProcess(["chat", "--session", file, "--no-think", "--temperature", "0", .. answering ? new[] { "--ignore-eos" } : []]))
        {
            await kimi.Input.WriteLineAsync("My name is Anna.".AsMemory(), cancellationToken);
            await kimi.Input.FlushAsync(cancellationToken);
            if (answering)
            {
                await kimi.Output.ReadAsync(new char[1], cancellationToken);
            }
            else
            {
                await kimi.Output.ReadLineAsync(cancellationToken);
            }

            kimi.Send(signal);
            Assert.That(await kimi.WaitAsync(cancellationToken), Is.EqualTo(128 + signal));
            Assert.That(await kimi.Error.ReadToEndAsync(cancellationToken), Is.EqualTo(answering ? "(stopped)" + Environment.NewLine : ""));
        }

        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.LoadSession(file, cancellationToken: cancellationToken);
        Assert.That(Encoding.UTF8.GetString(session.ApplicationData.Span), Does.Contain("Anna").And.Contain("Assistant"));
        Assert.That(session.TokenCount, Is.Positive);
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "There is no signal to send.")]
    [CancelAfter(60_000)]
    public async Task Ctrl_C_ends_a_chat_in_a_pipe_and_it_is_saved(CancellationToken cancellationToken)
    {
        string file = Path.Combine(Folder, "story.session");
        using var kimi = new KimiProcess("chat", "--session", file, "--no-think", "--ignore-eos");
        await kimi.Input.WriteAsync("Tell me a story.\nTell me another one.\n".AsMemory(), cancellationToken);
        await kimi.Input.FlushAsync(cancellationToken);
        await kimi.Output.ReadAsync(new char[1], cancellationToken);
        kimi.Interrupt();
        Assert.That(await kimi.WaitAsync(cancellationToken), Is.EqualTo(KimiCommand.Cancelled));
        Assert.That(await kimi.Error.ReadToEndAsync(cancellationToken), Is.EqualTo($"(stopped){Environment.NewLine}Cancelled.{Environment.NewLine}"));
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.LoadSession(file, cancellationToken: cancellationToken);
        Assert.That(Encoding.UTF8.GetString(session.ApplicationData.Span), Does.Contain("Tell me a story.").And.Not.Contain("another"));
    }

    [Test]
    [Platform("Linux", Reason = "See KimiTerminal.")]
    [CancelAfter(60_000)]
    public async Task Ctrl_C_stops_an_answer_at_a_terminal_and_the_chat_goes_on_and_is_saved(CancellationToken cancellationToken)
    {
        string file = Path.Combine(Folder, "story.session");
        using var chat = new KimiTerminal("dumb", "chat", "--session", file, "--no-think", "--ignore-eos");
        await chat.ReadUntilAsync("> ", cancellationToken);
        await chat.TypeAsync("Tell me a story.\n", cancellationToken);
        await chat.ReadUntilAsync("story.\r\n", cancellationToken);

        // There is a part of the answer then: the line that says how much of the prompt is read has no full stop.
        await chat.ReadUntilAsync(".", cancellationToken);
        await chat.TypeAsync("\u0003", cancellationToken);
        await chat.ReadUntilAsync("(stopped", cancellationToken);

        // The parser's library would end the program two seconds after the key.
        await Task.Delay(3000, cancellationToken);
        await chat.TypeAsync("/reset\n/exit\n", cancellationToken);
        await chat.ReadUntilAsync("anew", cancellationToken);
        Assert.That((await chat.EndAsync(cancellationToken)).Code, Is.Zero);
        Assert.That(file, Does.Exist);
    }

    /// <summary>The shell's prompt would be dimmed from there on.</summary>
    [Test]
    [Platform("Linux", Reason = "See KimiTerminal.")]
    [CancelAfter(60_000)]
    public async Task A_chat_that_is_ended_while_it_reasons_leaves_no_dimmed_terminal([Values] bool saved, CancellationToken cancellationToken)
    {
        using var chat = new KimiTerminal("xterm", ["chat", "--ignore-eos", .. saved ? new[] { "--session", Path.Combine(Folder, "a.session") } : []]);
        await chat.ReadUntilAsync("> ", cancellationToken);
        await chat.TypeAsync("Tell me a story.\n", cancellationToken);
        await chat.ReadUntilAsync("\u001b[2m", cancellationToken);
        await chat.TypeAsync("\u001c", cancellationToken);
        Assert.That((await chat.EndAsync(cancellationToken)).Output, Does.Contain("\u001b[0m"));
    }

    /// <summary>Whoever takes a line back with Ctrl-U would ask what was in it, too.</summary>
    [Test]
    [Platform("Linux", Reason = "See KimiTerminal.")]
    [CancelAfter(60_000)]
    public async Task A_line_is_edited_at_a_terminal(CancellationToken cancellationToken)
    {
        string file = Path.Combine(Folder, "edited.session");
        using (var chat = new KimiTerminal("xterm", "chat", "--session", file, "--no-think", "-n", "1"))
        {
            await chat.ReadUntilAsync("> ", cancellationToken);
            await chat.TypeAsync("abc\u0015def ghi\u0017é😀\u007f\u007f\u001b[D\u001bOCü\n", cancellationToken);
            await chat.ReadUntilAsync("\n> ", cancellationToken);
            await chat.TypeAsync("\"\"\"one\ntwo\"\"\"\n/exit\n", cancellationToken);
            Assert.That((await chat.EndAsync(cancellationToken)).Code, Is.Zero);
        }

        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.LoadSession(file, cancellationToken: cancellationToken);
        using JsonDocument saved = JsonDocument.Parse(session.ApplicationData);
        Assert.That(saved.RootElement.GetProperty("messages").EnumerateArray().Where(m => m.GetProperty("role").GetString() == "User").Select(m => m.GetProperty("content").GetString()), Is.EqualTo(new[] { "def ü", "one\ntwo" }));
    }

    /// <summary>Ctrl-C would end the chat.</summary>
    [Test]
    [Platform("Linux", Reason = "See KimiTerminal.")]
    [CancelAfter(60_000)]
    public async Task A_question_of_several_lines_is_given_up_at_a_terminal(CancellationToken cancellationToken)
    {
        using var chat = new KimiTerminal("dumb", "chat", "--no-think", "-n", "1");
        Assert.That(await chat.ReadUntilAsync("> ", cancellationToken), Does.Contain("Ctrl-D at the beginning of a line gives a question of several up."));
        await chat.TypeAsync("\"\"\"one\n", cancellationToken);
        await chat.ReadUntilAsync("... ", cancellationToken);
        await chat.TypeAsync("\u0004", cancellationToken);
        await chat.ReadUntilAsync("was not asked", cancellationToken);
        await chat.TypeAsync("/exit\n", cancellationToken);
        Assert.That((await chat.EndAsync(cancellationToken)).Code, Is.Zero);
    }

    /// <summary>A shell that does not know letters of several bytes would go on with a terminal that does.</summary>
    [Test]
    [Platform("Linux", Reason = "See KimiTerminal.")]
    [CancelAfter(60_000)]
    public async Task A_terminal_is_left_as_it_was_found([Values] bool interrupted, CancellationToken cancellationToken)
    {
        using var chat = KimiTerminal.WithSettingsAtEnd("chat", "--no-think");
        await chat.ReadUntilAsync("> ", cancellationToken);
        await chat.TypeAsync(interrupted ? "\u0003" : "/exit\n", cancellationToken);
        Assert.That((await chat.EndAsync(cancellationToken)).Output, Does.Contain(" -iutf8"));
    }

    /// <summary>The terminal keeps the beginning alone, and the question would be another one.</summary>
    [Test]
    [Platform("Linux", Reason = "See KimiTerminal.")]
    [CancelAfter(60_000)]
    public async Task A_line_that_the_terminal_has_cut_is_not_asked(CancellationToken cancellationToken)
    {
        using var chat = new KimiTerminal("dumb", "chat", "--no-think", "-n", "1");
        await chat.ReadUntilAsync("> ", cancellationToken);
        await chat.TypeAsync(new string('x', 3000), cancellationToken);
        await chat.ReadUntilAsync(new string('x', 3000), cancellationToken);
        await chat.TypeAsync(new string('y', 3000) + "\n", cancellationToken);
        await chat.ReadUntilAsync("(not asked: the terminal keeps 4,095 bytes of a line", cancellationToken);
        await chat.TypeAsync("/exit\n", cancellationToken);
        Assert.That((await chat.EndAsync(cancellationToken)).Code, Is.Zero);
    }
}
