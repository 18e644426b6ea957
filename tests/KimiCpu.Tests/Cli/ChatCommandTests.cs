// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Text;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
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

    /// <summary>`script` makes a terminal, in which the key is one.</summary>
    [Test]
    [Platform("Linux", Reason = "Elsewhere `script` is another program, or none.")]
    [CancelAfter(60_000)]
    public async Task Ctrl_C_stops_an_answer_at_a_terminal_and_the_chat_goes_on_and_is_saved(CancellationToken cancellationToken)
    {
        string file = Path.Combine(Folder, "story.session");
        string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");

        // The key would end a shell that waits for the program; and beside the console's echo that of the terminal would come for what is typed before it is read.
        string command = $"stty -echo; exec dotnet '{program}' chat --session '{file}' --no-think --ignore-eos";
        var start = new ProcessStartInfo("script", ["--quiet", "--return", "--command", command, "/dev/null"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        start.Environment["TERM"] = "dumb";

        // Services may have one that runs nothing.
        start.Environment["SHELL"] = "/bin/sh";
        using Process chat = Process.Start(start)!;
        try
        {
            await ReadUntilAsync("> ");
            await chat.StandardInput.WriteAsync("Tell me a story.\n");
            await chat.StandardInput.FlushAsync(cancellationToken);
            await ReadUntilAsync("story.\r\n");
            await ReadUntilAsync(" ");

            // There may be a part of the answer by now, or a line that says how much of the prompt is read.
            await chat.StandardInput.WriteAsync("\u0003");
            await chat.StandardInput.FlushAsync(cancellationToken);
            await ReadUntilAsync("(stopped");

            // The parser's library would end the program two seconds after the key.
            await Task.Delay(3000, cancellationToken);
            await chat.StandardInput.WriteAsync("/reset\n/exit\n");
            await chat.StandardInput.FlushAsync(cancellationToken);
            await ReadUntilAsync("anew");
            await chat.WaitForExitAsync(cancellationToken);
            Assert.That(chat.ExitCode, Is.Zero);
            Assert.That(file, Does.Exist);
        }
        finally
        {
            chat.Kill(entireProcessTree: true);
        }

        async Task ReadUntilAsync(string text)
        {
            var said = new StringBuilder();
            var next = new char[1];
            while (!said.ToString().EndsWith(text, StringComparison.Ordinal))
            {
                Assert.That(await chat.StandardOutput.ReadAsync(next, cancellationToken), Is.Positive, said.ToString());
                said.Append(next);
            }
        }
    }
}
