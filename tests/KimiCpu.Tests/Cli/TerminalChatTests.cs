// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;
using KimiCpu.Cli.Terminal;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli;

/// <summary>What stays of a conversation when an answer is stopped.</summary>
[TestFixture]
internal sealed class TerminalChatTests
{
    private static readonly GenerationOptions s_greedy = new() { Temperature = 0, Thinking = false, MaxTokens = 200 };

    /// <summary>Standard output has half an answer then, and a script would go on with it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_chat_that_a_signal_ends_says_so([Values] bool terminal, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var output = new EndingWriter(cancellationToken);
        using var input = new StringReader("Tell me a story.\n");
        using var chat = new TerminalChat(model, model.CreateSession(), s_greedy with { MaxTokens = 7000, IgnoreEndOfText = true }, null, input, output, TextWriter.Null, terminal, coloured: false);
        output.Chat = chat;
        Assert.That(await chat.RunAsync(cancellation), Is.False);
        Assert.That(chat.Messages, Has.Count.EqualTo(2), "with the part of an answer");
    }

    /// <summary>The prompt is so long that it is stopped before it has been read.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task A_question_goes_with_an_answer_of_which_nothing_came(CancellationToken cancellationToken)
    {
        string question = string.Concat(Enumerable.Repeat("Tell me a story. ", 1000));
        using var cancellation = new CancellationSwitch();
        Task stopping = Task.Run(
            async () =>
            {
                while (!cancellation.TryStop())
                {
                    await Task.Delay(1, cancellationToken);
                }
            },
            cancellationToken);
        (IReadOnlyList<KimiMessage> messages, string[] error) = await ChatAsync(s_greedy, question, cancellation, TextWriter.Null);
        await stopping;
        Assert.That(error[0], Is.EqualTo("(stopped before an answer came; the question is forgotten)"));
        Assert.That(messages.Select(m => m.Role), Is.EqualTo(new[] { KimiRole.System, KimiRole.User, KimiRole.Assistant }));
        Assert.That(messages[1].Content, Is.EqualTo("Who are you?"));
    }

    [Test]
    public async Task A_question_stays_with_the_part_of_an_answer_that_came()
    {
        using var cancellation = new CancellationSwitch();
        using var output = new StoppingWriter(cancellation);
        (IReadOnlyList<KimiMessage> messages, string[] error) = await ChatAsync(s_greedy with { MaxTokens = 7000, IgnoreEndOfText = true }, "Tell me a story.", cancellation, output);
        Assert.That(output.HasStopped);
        Assert.That(error[0], Is.EqualTo("(stopped)"));
        Assert.That(messages.Take(4).Select(m => m.Role), Is.EqualTo(new[] { KimiRole.System, KimiRole.User, KimiRole.Assistant, KimiRole.User }));
        Assert.That((messages[1].Content, messages[3].Content), Is.EqualTo(("Tell me a story.", "Who are you?")));
        Assert.That(messages[2].Content, Is.Not.Empty);
    }

    /// <summary>A drive or a GPU may fail then; the terminal would stay dimmed behind the program's end.</summary>
    [Test]
    public void What_fails_within_reasoning_leaves_no_dimmed_terminal()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var output = new FailingWriter(at: 6, new IOException("the drive is gone"));
        using var input = new StringReader("What is the capital of France?");
        using var chat = new TerminalChat(model, model.CreateSession(), s_greedy with { Thinking = true }, null, input, output, TextWriter.Null, decorated: true, coloured: true) { ShowsProgress = false };
        Assert.That(() => chat.RunAsync(cancellation), Throws.TypeOf<IOException>());
        Assert.That(output.Text, Does.Contain("\u001b[2m").And.EndsWith("\u001b[0m" + Environment.NewLine));
    }

    /// <summary>As in <c>kimi chat 2&gt; log</c>.</summary>
    [Test]
    public async Task Errors_that_go_into_a_file_have_no_colours([Values] bool coloured)
    {
        using var source = new CancellationTokenSource();
        using var input = new MemoryStream("Hi\n"u8.ToArray());
        var error = new StringWriter();
        Assert.That(await KimiCpu.Cli.KimiCommand.RunAsync(["chat", "--no-think"], new CliStreams(input, TextWriter.Null, error, IsTerminal: true) { ShowsProgress = false, UsesColoursInErrors = coloured }, source), Is.Zero);
        Assert.That(error.ToString(), Does.Contain(" tokens/s; "));
        Assert.That(error.ToString().Contains('\u001b', StringComparison.Ordinal), Is.EqualTo(coloured));
    }

    [Test]
    public async Task In_a_pipe_it_is_told_whether_all_was_answered()
    {
        Assert.That(await AnsweredAsync("Who are you?"), Is.True);
        Assert.That(await AnsweredAsync($"Who are you?\n{string.Concat(Enumerable.Repeat("hello ", 20_000))}"), Is.False);
        Assert.That(await AnsweredAsync("Who are you?\n/think off\n/reset\n"), Is.True);
        Assert.That(await AnsweredAsync("/rset\nWho are you?\n"), Is.False, "what follows it is not answered as was meant");

        static async Task<bool> AnsweredAsync(string input) => (await ChatAsync(input, terminal: false)).Answered;
    }

    [Test]
    public async Task Questions_may_begin_with_a_slash([Values] bool terminal)
    {
        (bool answered, string[] questions, string error) = await ChatAsync("/etc/fstab: what is the sixth field?\n//reset\n/think harder\n// TODO\n", terminal);
        Assert.That(questions, Is.EqualTo(new[] { "/etc/fstab: what is the sixth field?", "/reset", "// TODO" }));
        Assert.That(answered, Is.EqualTo(terminal));
        Assert.That(error, Does.Contain("There is no command /think harder. /reset begins anew, "));
    }

    /// <summary>As in <c>kimi chat | tee</c>, where the input alone is a terminal's.</summary>
    [Test]
    public async Task Keys_are_no_part_of_a_question_that_is_typed([Values] bool typed)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var input = new StringReader("H\u001b[Di\n");
        using var chat = new TerminalChat(model, model.CreateSession(), s_greedy with { MaxTokens = 1 }, null, input, TextWriter.Null, TextWriter.Null, decorated: false, coloured: false) { LongestLine = typed ? 100 : int.MaxValue };
        Assert.That(await chat.RunAsync(cancellation), Is.True);
        Assert.That(chat.Messages[0].Content, Is.EqualTo(typed ? "Hi" : "H\u001b[Di"));
    }

    /// <summary>A text that is pasted in would be as many questions as it has lines.</summary>
    [Test]
    public async Task A_question_may_have_several_lines([Values] bool terminal)
    {
        (bool answered, string[] questions, string error) = await ChatAsync("\"\"\"a\nb\"\"\"\n\"\"\"\nint f() {\n\n  /exit\n}\n  \"\"\" \n\"\"\"/reset\"\"\"\n\"\"\"\"\"\"\nc \"\"\"\n", terminal);
        Assert.That(questions, Is.EqualTo(new[] { "a\nb", "int f() {\n\n  /exit\n}", "/reset", "c \"\"\"" }));
        Assert.That(answered, Is.True);
        Assert.That(error, Does.Not.Contain("anew." + Environment.NewLine));
    }

    [Test]
    public async Task A_question_that_the_input_ends_within_is_not_asked_and_told([Values] bool terminal)
    {
        (bool answered, string[] questions, string error) = await ChatAsync("Hi\n\"\"\"a\nb\n", terminal);
        Assert.That((answered, questions), Is.EqualTo((terminal, new[] { "Hi" })));
        Assert.That(error, Does.Contain("The input ended within a question, which was not asked"));
    }

    [Test]
    public async Task Letters_that_were_lost_are_told_once()
    {
        (bool answered, string[] questions, string error) = await ChatAsync("M\uFFFDller\nM\uFFFDnchen\n", terminal: false);
        Assert.That((answered, questions), Is.EqualTo((true, new[] { "M\uFFFDller", "M\uFFFDnchen" })));
        Assert.That(error.Split("is not UTF-8"), Has.Length.EqualTo(2));
        Assert.That(error, Does.Contain(Utf8Text.Remedy));
    }

    /// <summary>A drive may fail once, and what was said until then took hours.</summary>
    [Test]
    public async Task An_answer_that_fails_ends_no_conversation_at_a_terminal([Values] bool terminal)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var output = new FailingWriter(at: terminal ? 3 : 2, new KimiException("The drive\u001b is gone."));
        using var input = new StringReader("What is the capital of France?\nWho are you?\n");
        var error = new StringWriter();
        using var chat = new TerminalChat(model, model.CreateSession(), s_greedy, null, input, output, error, terminal, coloured: false) { ShowsProgress = false };
        if (!terminal)
        {
            Assert.That(() => chat.RunAsync(cancellation), Throws.TypeOf<KimiException>());
            return;
        }

        Assert.That(await chat.RunAsync(cancellation), Is.True);
        Assert.That(error.ToString(), Does.Contain($"The drive\\u001B is gone.{Environment.NewLine}(the answer ends here){Environment.NewLine}"));
        Assert.That(chat.Messages.Select(m => m.Role), Is.EqualTo(new[] { KimiRole.User, KimiRole.Assistant, KimiRole.User, KimiRole.Assistant }));
        Assert.That(output.Text, Does.EndWith("> "), "the prompt");
    }

    /// <summary>There are a thousand more questions, and each would have to be stopped.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Ctrl_C_ends_a_chat_in_a_pipe()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var output = new StoppingWriter(cancellation);
        using var input = new StringReader("Tell me a story.\nWho are you?\n");
        var error = new StringWriter();
        using var chat = new TerminalChat(model, model.CreateSession(), s_greedy with { MaxTokens = 7000, IgnoreEndOfText = true }, null, input, output, error, decorated: false, coloured: false);
        Assert.That(() => chat.RunAsync(cancellation), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(error.ToString(), Is.EqualTo("(stopped)" + Environment.NewLine));
        Assert.That(chat.Messages, Has.Count.EqualTo(2), "what came of the answer can be saved");
        Assert.That(input.ReadLine(), Is.EqualTo("Who are you?"));
    }

    /// <summary>The answer is whole, but its end waits for a reader, as in <c>kimi chat &lt; questions | less</c>.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Ctrl_C_at_the_end_of_an_answer_ends_a_chat_in_a_pipe()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var output = new StoppingWriter(cancellation, atEnd: true);
        using var input = new StringReader("What is the capital of France?\nWho are you?\n");
        using var chat = new TerminalChat(model, model.CreateSession(), s_greedy, null, input, output, TextWriter.Null, decorated: false, coloured: false);
        Assert.That(() => chat.RunAsync(cancellation), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(output.HasStopped);
        Assert.That(chat.Messages, Has.Count.EqualTo(2), "the answer can be saved");
        Assert.That(input.ReadLine(), Is.EqualTo("Who are you?"));
    }

    private static async Task<(bool Answered, string[] Questions, string Error)> ChatAsync(string lines, bool terminal)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        using var input = new StringReader(lines);
        var error = new StringWriter();
        using var chat = new TerminalChat(model, model.CreateSession(), s_greedy with { MaxTokens = 3 }, null, input, TextWriter.Null, error, terminal, coloured: false) { ShowsProgress = false };
        bool answered = await chat.RunAsync(cancellation);
        return (answered, [.. chat.Messages.Where(m => m.Role == KimiRole.User).Select(m => m.Content)], error.ToString());
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Reasoning_is_kept_for_later_questions_that_show_it_again([Values] bool preserve, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        GenerationOptions options = s_greedy with { Thinking = true, PreserveThinking = preserve };
        using var input = new StringReader("What is the capital of France?\nAnd of Italy?");
        using var chat = new TerminalChat(model, model.CreateSession(), options, null, input, TextWriter.Null, TextWriter.Null, decorated: false, coloured: false);
        await chat.RunAsync(cancellation);
        KimiMessage[] answers = [.. chat.Messages.Where(m => m.Role == KimiRole.Assistant)];
        Assert.That(answers.Select(a => a.Reasoning).ToArray(), Has.Length.EqualTo(2).And.All.Not.Empty);
        string shown = model.Tokenizer.Decode(model.EncodePrompt([.. chat.Messages, KimiMessage.User("And of Spain?")], options, cancellationToken));
        Assert.That(answers.Select(a => shown.Contains($"<think>{a.Reasoning}</think>{a.Content}", StringComparison.Ordinal)), Is.All.EqualTo(preserve));
        int known = chat.Session.TokenCount;
        GenerationResult next = chat.Session.Generate([.. chat.Messages, KimiMessage.User("And of Spain?")], options, cancellationToken);
        Assert.That(next.Usage.CachedTokens, preserve ? Is.EqualTo(known) : Is.LessThan(known));
    }

    /// <summary>That of K2 Thinking cannot leave reasoning away: the model opens it by itself.</summary>
    [Test]
    public async Task Reasoning_is_switched_whatever_the_template_can_say([Values] bool byTemplate)
    {
        string folder = byTemplate ? Repository.NanoModel : Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            if (!byTemplate)
            {
                Array.ForEach(Directory.GetFiles(Repository.NanoModel), f => File.Copy(f, Path.Combine(folder, Path.GetFileName(f))));
                string template = Path.Combine(folder, "chat_template.jinja");
                string text = File.ReadAllText(template);
                int opening = text.LastIndexOf("{% if thinking", StringComparison.Ordinal);
                File.WriteAllText(template, text[..opening] + "\n{%- endif -%}\n");
            }

            using KimiModel model = KimiModel.Open(folder);
            using var cancellation = new CancellationSwitch();
            using var input = new StringReader("What is the capital of France?\n/think off\nAnd of Italy?\n/think on\nAnd of Spain?");
            using var chat = new TerminalChat(model, model.CreateSession(), s_greedy with { Thinking = true, MaxReasoningTokens = 20 }, null, input, TextWriter.Null, TextWriter.Null, decorated: false, coloured: false);
            Assert.That(await chat.RunAsync(cancellation), Is.True);
            Assert.That(chat.Messages.Where(m => m.Role == KimiRole.Assistant).Select(m => m.Reasoning is not null), Is.EqualTo(new[] { true, false, true }));
        }
        finally
        {
            if (!byTemplate)
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    /// <summary>The question comes from a pipe either way.</summary>
    [Test]
    public async Task Answers_of_control_characters_reach_files_as_they_are_and_no_terminal([Values] bool terminal)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var cancellation = new CancellationSwitch();
        var output = new StringWriter();
        int escape = model.Tokenizer.Encode("\u001b").Single();
        GenerationOptions options = s_greedy with { MaxTokens = 2, LogitBias = new Dictionary<int, float> { [escape] = 1000 } };
        using var chat = new TerminalChat(model, model.CreateSession(), options, null, new StringReader("Hi"), output, TextWriter.Null, decorated: false, coloured: false) { ShowsOnTerminal = terminal };
        await chat.RunAsync(cancellation);
        Assert.That(output.ToString().TrimEnd(), Is.EqualTo(terminal ? "\\u001B\\u001B" : "\u001b\u001b"));
    }

    [Test]
    public void A_terminal_is_shown_control_characters_by_number() =>
        Assert.That(VisibleText.Of("a\tb\n\u001b]0;x\u0007\u009b2J\u007fé😀"), Is.EqualTo("a\tb\n\\u001B]0;x\\u0007\\u009B2J\\u007Fé😀"));

    /// <summary>Asks a question whose answer is stopped, and another one, at a terminal. The errors are those behind its greeting.</summary>
    private static async Task<(IReadOnlyList<KimiMessage> Messages, string[] Error)> ChatAsync(GenerationOptions options, string question, CancellationSwitch cancellation, TextWriter output)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        var error = new StringWriter();
        using var input = new StringReader($"{question}\nWho are you?\n/exit\n");
        using var chat = new TerminalChat(model, model.CreateSession(), options, "Be brief.", input, output, error, decorated: true, coloured: false) { ShowsProgress = false };
        await chat.RunAsync(cancellation);
        return ([.. chat.Messages], error.ToString().Split(Environment.NewLine)[2..]);
    }

    /// <summary>Fails once.</summary>
    private sealed class FailingWriter(int at, Exception error) : TextWriter
    {
        private readonly StringBuilder _text = new();
        private int _writes;

        public override Encoding Encoding => Encoding.UTF8;

        public string Text => _text.ToString();

        public override void Write(char value) => _text.Append(value);

        public override void Write(string? value)
        {
            _text.Append(value);
            if (++_writes == at)
            {
                throw error;
            }
        }

        public override void WriteLine(string? value) => _text.Append(value).Append(NewLine);
    }

    /// <summary>Does what the system's signal does at the first piece of an answer.</summary>
    private sealed class EndingWriter(CancellationToken cancellationToken) : TextWriter
    {
        private bool _hasEnded;

        public TerminalChat? Chat { get; set; }

        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value)
        {
        }

        public override void Write(string? value)
        {
            if (_hasEnded || value == "\n> ")
            {
                return;
            }

            _hasEnded = true;
            Task.Run(() => Chat!.End(TimeSpan.FromSeconds(30)), cancellationToken);
            SpinWait.SpinUntil(() => Chat!.HasEnded || cancellationToken.IsCancellationRequested);
        }
    }

    /// <summary>Does what Ctrl-C does at every piece of an answer, or at its end.</summary>
    private sealed class StoppingWriter(CancellationSwitch cancellation, bool atEnd = false) : TextWriter
    {
        public bool HasStopped { get; private set; }

        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value)
        {
        }

        public override void Write(string? value) => HasStopped |= !atEnd && cancellation.TryStop();

        public override void WriteLine() => HasStopped |= atEnd && cancellation.TryStop();
    }
}
