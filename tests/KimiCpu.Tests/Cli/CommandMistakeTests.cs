// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

/// <summary>What somebody who mistypes something is told.</summary>
[TestFixture]
internal sealed class CommandMistakeTests : CommandFixture
{
    [TestCase(KimiCommand.Usage, "generate", "--top-p", "2", "hi")]
    [TestCase(KimiCommand.Usage, "generate", "--temperature", "warm", "hi")]
    [TestCase(KimiCommand.Usage, "generate", "--logit-bias", "x", "hi")]
    [TestCase(KimiCommand.Usage, "generate", "--threads", "0", "hi")]
    [TestCase(KimiCommand.Usage, "nonsense")]
    [TestCase(KimiCommand.Usage, "render")]
    [TestCase(KimiCommand.Usage, "generate")]
    [TestCase(KimiCommand.Usage, "generate", "")]
    [TestCase(KimiCommand.Usage, "generate", "--raw", "")]
    [TestCase(KimiCommand.Usage, "render", "--template", "k9", "x.json")]
    [TestCase(KimiCommand.Usage, "render", "/does/not/exist.json")]
    [TestCase(KimiCommand.Usage, "generate", "--conversation", "/does/not/exist.json")]
    [TestCase(KimiCommand.Usage, "generate", "--schema", "/does/not/exist.json", "hi")]
    [TestCase(KimiCommand.Usage, "simulate", "/does/not/exist.trace")]
    [TestCase(KimiCommand.Usage, "trace", "--file", "/does/not/exist.txt", "--output", "kimicpu-never-written")]
    [TestCase(KimiCommand.Usage, "serve", "--config", "/does/not/exist.json")]
    [TestCase(KimiCommand.Usage, "serve", "--api-key-file", "/does/not/exist.txt")]
    [TestCase(KimiCommand.Usage, "generate", "--no-think", "--max-reasoning-tokens", "9", "hi")]
    [TestCase(KimiCommand.Usage)]
    [TestCase(KimiCommand.Usage, "logits", "--tokens", "1,x", "--out", "f")]
    [TestCase(KimiCommand.Usage, "logits", "--tokens", "99999", "--out", "kimicpu-never-written")]
    [TestCase(KimiCommand.Usage, "bench", "--shape", "hidden")]
    [TestCase(KimiCommand.Usage, "bench", "--prefill", "x")]
    [TestCase(KimiCommand.Usage, "bench", "--gpu", "--device", "cpu")]
    [TestCase(KimiCommand.Usage, "bench", "--device", "cuda")]
    [TestCase(KimiCommand.Usage, "bench", "--kernels", "--gpu")]
    [TestCase(KimiCommand.Usage, "bench", "--kernels", "--expert-memory", "2GB")]
    [TestCase(KimiCommand.Usage, "bench", "--kernels", "--concurrency", "2")]
    [TestCase(KimiCommand.Usage, "bench", "--kernels", "--tune")]
    [TestCase(KimiCommand.Usage, "bench", "--gpu", "--chart", "kimicpu-never-written")]
    [TestCase(KimiCommand.Failed, "inspect", "/does/not/exist")]
    [TestCase(KimiCommand.Failed, "verify", "/does/not/exist")]
    [TestCase(KimiCommand.Failed, "generate", "--model", "/does/not/exist", "hi")]
    [TestCase(KimiCommand.Failed, "generate", "--context", "5", "hi there")]
    [TestCase(KimiCommand.Failed, "logits", "--tokens", "1", "--out", "/does/not/exist/f")]
    public async Task Mistakes_end_with_a_sentence_and_a_code(int expected, params string[] args)
    {
        (int code, _, string error) = await Run(args);
        Assert.That(code, Is.EqualTo(expected), error);
        Assert.That(error, Is.Not.Empty.And.Not.Contain("   at ").And.Not.Contain("Exception"));
    }

    /// <summary>As other programs take models, which download them.</summary>
    [TestCase("chat", "--model", "k2-thinking")]
    [TestCase("generate", "-m", "moonshotai/Kimi-K2-Thinking", "hi")]
    [TestCase("serve", "--model", "Kimi-K2-Thinking")]
    [TestCase("render", "--model", "k2-thinking", "x.json")]
    [TestCase("tokenize", "--model", "k2-thinking")]
    [TestCase("logits", "--model", "k2-thinking", "--tokens", "1", "--out", "kimicpu-never-written")]
    [TestCase("trace", "--model", "k2-thinking", "--prompt", "x", "--output", "kimicpu-never-written")]
    [TestCase("bench", "--model", "k2-thinking")]
    [TestCase("inspect", "k2-thinking")]
    [TestCase("verify", "moonshotai/Kimi-K2-Thinking")]
    [TestCase("repack", "k2-thinking", "kimicpu-never-written")]
    [TestCase("pull", "k2-thinking")]
    [TestCase("pull")]
    [TestCase("run", "moonshotai/Kimi-K2-Thinking", "--verbose")]
    public async Task Who_gives_a_models_name_in_place_of_its_folder_is_told_how_to_download_it(params string[] args)
    {
        (int code, string output, string error) = await Run(args);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")), error);
        Assert.That(error, Does.Contain("models are not downloaded by kimi but by `hf download moonshotai/Kimi-K2-Thinking --local-dir DIR`"));
    }

    [TestCase("'run' is no command of kimi: `kimi chat --model DIR` is a conversation", "run")]
    [TestCase("'pull' is no command of kimi: models are not downloaded by kimi but by `hf download PUBLISHER/MODEL --local-dir DIR`", "pull", "some-one/Kimi-K2-of-theirs")]
    [TestCase("'list' is no command of kimi, which keeps no models of its own: --model takes the folder", "list")]
    [TestCase("Unrecognized command or argument 'nonsense'", "nonsense", "pull")]
    [TestCase("'kimi-nano' is no folder but the model that comes along, which runs where --model is left away.", "chat", "--model", "kimi-nano")]
    public async Task Commands_of_other_programs_are_told_what_is_in_their_place(string expected, params string[] args)
    {
        (int code, _, string error) = await Run(args);
        Assert.That((code, error.StartsWith(expected, StringComparison.Ordinal)), Is.EqualTo((KimiCommand.Usage, true)), error);
    }

    /// <summary>The library's messages name properties.</summary>
    [TestCase("--temperature takes 0 … 100; found -1.", "--temperature", "-1")]
    [TestCase("--top-p takes above 0, at most 1; found 2.", "--top-p", "2")]
    [TestCase("--tokens takes 1 or more; found 0.", "-n", "0")]
    [TestCase("--seed takes a whole number of 0 or more; found 'x'.", "--seed", "x")]
    [TestCase("--temperature takes a number; found 'x'.", "--temperature", "x")]
    [TestCase("--stop-token takes a whole number; found 'x'.", "--stop-token", "x")]
    [TestCase("ask for fewer tokens (--tokens)", "--tokens", "8191")]
    [TestCase("--temperature takes a number; found '0,5'.", "--temperature", "0,5")]
    [TestCase("belong to the chat template, which --raw leaves away", "--raw", "--no-think")]
    [TestCase("belong to the chat template, which --raw leaves away", "--raw", "--max-reasoning-tokens", "5")]
    [TestCase("--schema takes a file; '/' is a folder.", "--schema", "/")]
    [TestCase("--schema takes a file; found ''.", "--schema", "")]
    [TestCase("--schema takes a file; there is none at '/does/not/exist.json'.", "--schema", "/does/not/exist.json")]
    [TestCase("--no-think leaves no reasoning for --max-reasoning-tokens to limit", "--no-think", "--max-reasoning-tokens", "5")]
    [TestCase("--context raises the limit, up to 8192.", "--context", "4")]
    [TestCase("--logprobs takes 0 … 20; found 30.", "--json", "--logprobs", "30")]
    [TestCase("--logprobs needs --json", "--logprobs", "3")]
    [TestCase("--exact and --int8-hot-path exclude each other", "--exact", "--int8-hot-path")]
    [TestCase("--system belongs to the chat template", "--raw", "--system", "x")]
    [TestCase("--allow-special is for --raw", "--allow-special")]
    public async Task Messages_name_options_as_they_are_typed(string expected, params string[] options)
    {
        (int code, string output, string error) = await Run(["generate", "Hello", .. options]);
        Assert.That(code, Is.Not.Zero);
        Assert.That(output, Is.Empty);
        expected = expected.Replace("/does/not/exist.json", Path.GetFullPath("/does/not/exist.json"), StringComparison.Ordinal);
        Assert.That(error.Split(Environment.NewLine)[0], Does.Contain(expected).And.Not.Match("[a-z][A-Z]"));
    }

    /// <summary>Opening it may take an hour.</summary>
    [TestCase("--top-p takes above 0, at most 1; found 2.", "--top-p", "2")]
    [TestCase("--tokens takes 1 or more; found 0.", "-n", "0")]
    [TestCase("--repetition-penalty takes above 0, at most 10; found 0.", "--repetition-penalty", "0")]
    [TestCase("--stop takes texts of at least one character", "--stop", "")]
    [TestCase("--logit-bias takes token ids", "--logit-bias", "2147483647=1")]
    public async Task Options_that_no_answer_can_have_are_refused_before_a_model_is_opened(string expected, params string[] options)
    {
        foreach (string command in new[] { "chat", "generate" })
        {
            (int code, string output, string error) = await Run([command, "--model", "/does/not/exist", .. options], "hi\n");
            Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")), error);
            Assert.That(error, Does.StartWith(expected));
        }
    }

    [Test]
    public async Task A_conversation_and_a_constraint_that_there_cannot_be_are_refused_before_a_model_is_opened()
    {
        string empty = Path.Combine(Folder, "empty.json");
        File.WriteAllText(empty, "[]");
        string[] generate = ["generate", "--model", "/does/not/exist"];
        Assert.That(await Run([.. generate, "--conversation", empty]), Is.EqualTo((KimiCommand.Usage, "", $"--conversation, '{empty}': A conversation has at least one message.{Environment.NewLine}")));
        (int code, _, string error) = await Run([.. generate, "--choice", "yes", "--ignore-eos", "hi"]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Usage, "A Constraint ends its answer by an end-of-text token, so --ignore-eos must be false with it." + Environment.NewLine)));
    }

    /// <summary>For that the tokenizer is enough, and weights there are none here.</summary>
    [TestCase("--stop-token takes token ids 0 … ", "--stop-token", "999999")]
    [TestCase("--logit-bias takes token ids 0 … ", "--logit-bias", "999999=1")]
    public async Task Tokens_that_the_model_has_not_are_refused_before_it_is_opened(string expected, params string[] options)
    {
        foreach (string file in new[] { "config.json", "tiktoken.model", "tokenizer_config.json" })
        {
            File.Copy(Path.Combine(Repository.NanoModel, file), Path.Combine(Folder, file));
        }

        foreach (string command in new[] { "chat", "generate" })
        {
            (int code, string output, string error) = await Run([command, "--model", Folder, .. options], "hi\n");
            Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")), error);
            Assert.That(error, Does.StartWith(expected).And.Contain("; found 999999."));
        }
    }

    /// <summary>Opening fails here, as it may do after an hour elsewhere.</summary>
    [Test]
    public async Task Texts_that_a_model_cannot_take_are_refused_before_it_is_opened()
    {
        string file = Path.Combine(Folder, "out");
        string[] model = ["--model", Repository.NanoModel, "--expert-memory", "0.001MB", "--output", file];
        (int code, _, string error) = await Run(["logits", .. model[..^2], "--out", file, "--tokens", string.Join(',', Enumerable.Repeat("1", 256).Append("2304"))]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Usage, "--tokens takes ids 0 … 2303; found 2304." + Environment.NewLine)));
        (code, _, error) = await Run(["logits", .. model[..^2], "--out", file, "--tokens", string.Join(',', Enumerable.Repeat("1", 8193))]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Failed, "--tokens has 8,193 ids; the model's context holds 8,192." + Environment.NewLine)));
        string text = Path.Combine(Folder, "text");
        File.WriteAllText(text, string.Concat(Enumerable.Repeat("To be, or not to be\n", 5000)));
        (code, _, error) = await Run(["trace", .. model, "--file", text]);
        Assert.That((code, error.StartsWith("The text has ", StringComparison.Ordinal)), Is.EqualTo((KimiCommand.Failed, true)), error);
        (code, _, error) = await Run(["trace", .. model, "--prompt", "hi"]);
        Assert.That((code, error.StartsWith("One expert takes ", StringComparison.Ordinal)), Is.EqualTo((KimiCommand.Usage, true)), error);
    }

    /// <summary>Somebody may have to type it, or a pipe may bring it an hour later.</summary>
    [TestCase("--context takes a number of tokens", "--context", "0")]
    [TestCase("'gpu' is no device", "--device", "gpu")]
    [TestCase("--expert-memory takes a size", "--expert-memory", "12")]
    [TestCase("--exact and --int8-hot-path exclude each other", "--exact", "--int8-hot-path")]
    [TestCase("--stop-token takes token ids", "--stop-token", "999999")]
    public async Task Options_are_looked_at_before_the_prompt_is_waited_for(string expected, params string[] options)
    {
        using var source = new CancellationTokenSource();
        var error = new StringWriter();
        int code = await KimiCommand.RunAsync(["generate", .. options], new CliStreams(new FailingStream(new IOException("It was read.")), TextWriter.Null, error, IsTerminal: false), source);
        Assert.That((code, error.ToString().StartsWith(expected, StringComparison.Ordinal)), Is.EqualTo((KimiCommand.Usage, true)), error.ToString());
    }

    [TestCase("""{"name":"mark","parameters":{"type":"object","properties":{"numbers":{"type":"array","uniqueItems":true}}}}""", "The parameters of the tool 'mark' cannot be enforced. ")]
    [TestCase("""{"name":"now"}},{"type":"function","function":{"name":"now"}""", "Two tools are called 'now'.")]
    public async Task Tools_that_no_answer_can_call_are_refused_before_a_model_is_opened(string tools, string expected)
    {
        string file = Path.Combine(Folder, "conversation.json");
        File.WriteAllText(file, $$$"""{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{{{tools}}}}]}""");
        (int code, _, string error) = await Run(["generate", "--model", "/does/not/exist", "--conversation", file]);
        Assert.That((code, error.StartsWith($"--conversation, '{file}': {expected}", StringComparison.Ordinal)), Is.EqualTo((KimiCommand.Usage, true)), error);
        Assert.That(error, Does.Not.Contain("GenerationOptions"));
    }

    /// <summary>Wherever it comes from.</summary>
    [TestCase("[]", "A conversation has at least one message.")]
    [TestCase("""[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]""", "")]
    public async Task What_is_no_conversation_of_texts_is_wrong_usage(string json, string expected)
    {
        string file = Path.Combine(Folder, "conversation.json");
        File.WriteAllText(file, json);
        (int code, _, string error) = await Run(["render", file]);
        Assert.That(code, Is.EqualTo(KimiCommand.Usage));
        Assert.That(error, Does.StartWith($"CONVERSATION.json, '{file}': {expected}"));
        (code, _, error) = await Run(["render"], json);
        Assert.That(code, Is.EqualTo(KimiCommand.Usage));
        Assert.That(error, Does.StartWith($"standard input: {expected}"));
    }

    [Test]
    public async Task Answers_that_were_cut_off_and_options_that_do_less_are_told()
    {
        (_, string output, string error) = await Run(["generate", "--temperature", "0", "--tokens", "3", "What is the capital of France?"]);
        Assert.That(error, Does.StartWith("The answer is not whole: --tokens 3 cut it off. It is all reasoning").And.Not.Contain("  "), output);
        (_, _, error) = await Run(["generate", "--temperature", "0", "--context", "20", "Hello"]);
        Assert.That(error, Does.StartWith("The answer is not whole: the context of 20 tokens is full."));
        (_, _, error) = await Run(["generate", "--temperature", "0", "--context", "99999", "Hello"]);
        Assert.That(error, Is.EqualTo("--context is 99,999, but the model has 8,192 positions: the context has those." + Environment.NewLine));
        (_, _, error) = await Run(["generate", "--temperature", "0", "--tokens", "3", "--no-think", "--schema", Path.Combine(Folder, "none")], "Hello");
        Assert.That(error, Does.StartWith("--schema takes a file; there is none at "));
        (_, _, error) = await Run(["chat", "--temperature", "0", "--tokens", "3"], "Hello\n");
        Assert.That(error, Does.StartWith("The answer is not whole: --tokens 3 cut it off."));
    }

    /// <summary>Elsewhere such a word stands for the words of a file.</summary>
    [Test]
    public async Task Words_that_begin_with_an_at_sign_are_taken_as_they_are()
    {
        string file = Path.Combine(Folder, "words");
        File.WriteAllText(file, "--tokens\n1\n");
        var streams = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false);
        ParseResult parsed = KimiCommand.Parse(streams, ["generate", "@" + file, "--stop", "@" + file]);
        Assert.That(parsed.GetValue<string>("PROMPT"), Is.EqualTo("@" + file));
        Assert.That(parsed.GetValue<string[]>("--stop"), Is.EqualTo(new[] { "@" + file }));
        Assert.That(parsed.GetValue<int?>("--tokens"), Is.Null);
        (int code, string output, string error) = await Run(["generate", "@anna is late", "--regex", "@[a-z]{3}", "--no-think"]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Ok, "")));
        Assert.That(output, Does.Match("^@[a-z]{3}\\s*$"));
    }

    [Test]
    public async Task Files_that_cannot_be_read_are_told_with_what_names_them()
    {
        string none = Path.Combine(Folder, "none");
        string wrong = Path.Combine(Folder, "wrong.json");
        File.WriteAllText(wrong, """{"messages":5}""");
        (string[] Args, string Message)[] expected =
        [
            (["generate", "--conversation", none], $"--conversation takes a file; there is none at '{none}'."),
            (["generate", "--conversation", Folder], $"--conversation takes a file; '{Folder}' is a folder."),
            (["generate", "--conversation", wrong], $"--conversation, '{wrong}': messages: expected an array, found number."),
            (["render", none], $"CONVERSATION.json takes a file; there is none at '{none}'."),
            (["simulate", Folder], $"TRACE takes a file; '{Folder}' is a folder."),
            (["trace", "--file", none, "--output", Path.Combine(Folder, "trace")], $"--file takes a file; there is none at '{none}'."),
        ];
        foreach ((string[] args, string message) in expected)
        {
            Assert.That(await Run(args), Is.EqualTo((KimiCommand.Usage, "", message + Environment.NewLine)));
        }
    }

    [Test]
    public async Task Files_that_cannot_be_written_are_told_with_what_names_them()
    {
        string nowhere = Path.Combine(Folder, "none", "f");
        string because = $": '{nowhere}' could not be written, since there is no folder '{Path.GetDirectoryName(nowhere)}'." + Environment.NewLine;
        Assert.That(await Run(["logits", "--tokens", "1", "--out", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--out" + because)));
        Assert.That(await Run(["trace", "--synthetic", "zipf:0.8", "--tokens", "1", "--output", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--output" + because)));
        string trace = Path.Combine(Folder, "trace");
        Assert.That((await Run(["trace", "--prompt", "Hello", "--tokens", "2", "--output", trace])).Code, Is.Zero);
        (int code, _, string error) = await Run(["simulate", trace, "--slots", "4", "--policy", "lru", "--chart", nowhere]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Failed, "--chart" + because)));
        (code, string output, error) = await Run(["bench", "--kernels", "--chart", nowhere]);
        Assert.That((code, output, error), Is.EqualTo((KimiCommand.Failed, "", "--chart" + because)));
        (code, _, error) = await Run(["simulate", trace, "--slots", "4", "--policy", "lru", "--chart", Folder]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Failed, $"--chart takes a file; '{Folder}' is a folder." + Environment.NewLine)));

        // Before anything is opened, read or measured.
        const string NoModel = "/does/not/exist";
        Assert.That(await Run(["trace", "--model", NoModel, "--output", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--output" + because)));
        Assert.That(await Run(["logits", "--model", NoModel, "--tokens", "1", "--out", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--out" + because)));
        Assert.That(await Run(["chat", "--model", NoModel, "--session", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--session" + because)));
        (code, _, error) = await Run(["chat", "--model", NoModel, "--session", trace]);
        Assert.That((code, error.Contains("This is no saved session", StringComparison.Ordinal)), Is.EqualTo((KimiCommand.Failed, true)), error);
        string newer = Path.Combine(Folder, "newer.session");
        File.WriteAllBytes(newer, [.. "KimiKV\r\n"u8, 99, 0, 0, 0, 100, 0, 0, 0]);
        (code, _, error) = await Run(["chat", "--model", NoModel, "--session", newer]);
        Assert.That((code, error.Contains("format 99", StringComparison.Ordinal) && error.Contains("Use a newer KimiCpu", StringComparison.Ordinal)), Is.EqualTo((KimiCommand.Failed, true)), error);
        Assert.That(await Run(["bench", "--model", NoModel, "--expert-memory", "1MB", "--timeline", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--timeline" + because)));
    }

    /// <summary>A text has 2^30 characters at most, whatever memory there is.</summary>
    [Test]
    public async Task An_input_that_takes_too_much_memory_is_told([Values("generate", "tokenize")] string command)
    {
        using var source = new CancellationTokenSource();
        var error = new StringWriter();
        Assert.That(await KimiCommand.RunAsync([command], new CliStreams(new FailingStream(new InsufficientMemoryException()), TextWriter.Null, error, IsTerminal: false), source), Is.EqualTo(KimiCommand.Failed));
        Assert.That(error.ToString(), Does.Match(@"^This takes more memory than there is for it: [^\n]+\n$"));
    }

    /// <summary>A system that has no thread left is not short of memory.</summary>
    [Test]
    public async Task What_the_library_says_of_something_that_the_system_refuses_is_told_as_it_is()
    {
        const string Refusal = "The system refuses 9.0 GB of memory. Ask for less (KimiModelOptions.ExpertMemory).";
        using var source = new CancellationTokenSource();
        var error = new StringWriter();
        using var input = new FailingStream(new InsufficientMemoryException(Refusal, new IOException()));
        Assert.That(await KimiCommand.RunAsync(["generate"], new CliStreams(input, TextWriter.Null, error, IsTerminal: false), source), Is.EqualTo(KimiCommand.Failed));
        Assert.That(error.ToString(), Is.EqualTo(Refusal.Replace("KimiModelOptions.ExpertMemory", "--expert-memory", StringComparison.Ordinal) + Environment.NewLine));
    }

    /// <summary>Whoever may write everywhere would otherwise put a file in a device's place.</summary>
    [Test]
    [Platform("Linux", Reason = "Pipes have names there.")]
    [CancelAfter(60_000)]
    public async Task What_no_file_can_replace_is_written_to_as_it_is(CancellationToken cancellationToken)
    {
        string pipe = Path.Combine(Folder, "pipe");
        using (Process make = Process.Start("mkfifo", [pipe]))
        {
            await make.WaitForExitAsync(cancellationToken);
        }

        Task<byte[]> read = Task.Run(() => File.ReadAllBytes(pipe), cancellationToken);
        (int code, string output, string error) = await Run(["logits", "--tokens", "1,2", "--out", pipe]).WaitAsync(cancellationToken);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Ok, "")));
        Assert.That(await read.WaitAsync(cancellationToken), Has.Length.EqualTo(sizeof(float) * int.Parse(output.Split(' ')[2], CultureInfo.InvariantCulture)));
        read = Task.Run(() => File.ReadAllBytes(pipe), cancellationToken);
        (code, output, error) = await Run(["trace", "--synthetic", "flat", "--tokens", "3", "--output", pipe]).WaitAsync(cancellationToken);
        Assert.That((code, output, error), Is.EqualTo((KimiCommand.Ok, $"3 made-up tokens in {pipe}{Environment.NewLine}", "")));
        Assert.That((await read.WaitAsync(cancellationToken)).Take(4), Is.Not.Empty);
        Assert.That(Directory.GetFileSystemEntries(Folder), Is.EqualTo(new[] { pipe }));

        // A session is read again, and replaced by the next one.
        (code, _, error) = await Run(["chat", "--session", pipe]).WaitAsync(cancellationToken);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(error, Does.StartWith($"--session: '{pipe}' could not be written: '{pipe}' is a device, a pipe or a file that is mounted by itself, and no file that a new one can replace."));
    }

    /// <summary>Even who may write everywhere may not make files there.</summary>
    [Test]
    [Platform("Linux", Reason = "The folder is Linux's.")]
    public async Task Folders_that_take_no_files_are_told_with_the_option()
    {
        const string Because = " could not be written, since '/proc' takes no new files.";
        Assert.That(await Run(["chat", "--session", "/proc/x.session"]), Is.EqualTo((KimiCommand.Failed, "", $"--session: '/proc/x.session'{Because}{Environment.NewLine}")));
        Assert.That(await Run(["trace", "--synthetic", "flat", "--output", "/proc/x.trace"]), Is.EqualTo((KimiCommand.Failed, "", $"--output: '/proc/x.trace'{Because}{Environment.NewLine}")));
        (int code, _, string error) = await Run(["bench", "--shape", "nano", "--cache", "/proc/x"]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(error, Does.StartWith("The synthetic checkpoint could not be written into '/proc/x': ").And.Contain("--cache DIR"));
    }

    private sealed class FailingStream(Exception failure) : MemoryStream
    {
        public override bool CanSeek => false;

        public override int Read(byte[] buffer, int offset, int count) => throw failure;

        public override int Read(Span<byte> buffer) => throw failure;

        public override void CopyTo(Stream destination, int bufferSize) => throw failure;
    }
}
