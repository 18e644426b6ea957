// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class KimiCommandTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task Generate_writes_only_the_answer()
    {
        Assert.That(await Run(["generate", "What is the capital of France?", "--temperature", "0"]), Is.EqualTo((0, "The capital of France is Paris." + Environment.NewLine, "")));
        (int code, string output, string error) = await Run(["generate", "--temperature", "0", "--show-reasoning"], "What is the capital of France?");
        Assert.That((code, output), Is.EqualTo((0, "The capital of France is Paris." + Environment.NewLine)));
        Assert.That(error, Does.Contain("Paris"));
    }

    [Test]
    public async Task Generate_takes_every_sampling_option()
    {
        string[] options =
        [
            "--tokens", "8", "--temperature", "0.9", "--top-k", "20", "--top-p", "0.9", "--min-p", "0.01", "--repetition-penalty", "1.1", "--presence-penalty", "0.1",
            "--frequency-penalty", "0.1", "--logit-bias", "65=-inf", "--logit-bias", "66=1.5", "--seed", "7", "--stop", "zzz", "--stop-token", "9", "--ignore-eos", "--max-reasoning-tokens", "9", "--preserve-thinking", "--system", "Be brief.",
        ];
        (int code, string first, _) = await Run(["generate", "Tell me a story.", .. options]);
        (_, string second, _) = await Run(["generate", "Tell me a story.", .. options]);
        Assert.That(code, Is.Zero);
        Assert.That(second, Is.EqualTo(first));
    }

    [Test]
    public async Task Generate_json_holds_everything()
    {
        (int code, string output, _) = await Run(["generate", "--raw", "--json", "--logprobs", "2", "--tokens", "5", "--temperature", "0", "ROMEO:\n"]);
        Assert.That(code, Is.Zero);
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("tokens").GetArrayLength(), Is.EqualTo(5));
        Assert.That(json.RootElement.GetProperty("logprobs")[0].GetProperty("top").GetArrayLength(), Is.EqualTo(2));
        Assert.That(json.RootElement.GetProperty("finish_reason").GetString(), Is.EqualTo("length"));
        Assert.That(json.RootElement.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), Is.EqualTo(5));
        JsonElement timings = json.RootElement.GetProperty("timings");
        Assert.That(timings.GetProperty("decode_bytes_per_token").GetDouble(), Is.InRange(6_900_000, 7_000_000));
        Assert.That(timings.GetProperty("decode_bytes_per_second").GetDouble(), Is.Positive);
        Assert.That(timings.GetProperty("memory_bandwidth_share").ValueKind, Is.EqualTo(JsonValueKind.Null), "kimi-nano fits the caches");
    }

    [Test]
    public async Task Generate_holds_the_answer_to_a_constraint()
    {
        string schema = Path.Combine(_folder, "schema.json");
        File.WriteAllText(schema, """{"type":"object","required":["n"],"properties":{"n":{"type":"integer","minimum":10,"maximum":99}}}""");
        (int code, string output, string error) = await Run(["generate", "What is 7 + 8?", "--schema", schema, "--temperature", "1.5"]);
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(output, Does.Match("^\\{\"n\": ?[1-9][0-9]\\}\\s*$"));
        Assert.That(await Run(["generate", "Hello", "--choice", "maybe so", "--no-think"]), Is.EqualTo((0, "maybe so" + Environment.NewLine, "")));
        Assert.That((await Run(["generate", "Hello", "--regex", "[x-z]{3}", "--no-think"])).Output, Does.Match("^[x-z]{3}\\s*$"));
        Assert.That(await Run(["generate", "Hello", "--regex", "(?=a)"]), Is.EqualTo((2, "", "--regex: The pattern '(?=a)' has look-around, an option or another special group, which constraints do not support at character 3." + Environment.NewLine)));
        Assert.That((await Run(["generate", "Hello", "--regex", "a", "--choice", "b"])).Code, Is.EqualTo(2));
        foreach (string wrong in new[] { "{", """{"not":{}}""" })
        {
            File.WriteAllText(schema, wrong);
            (code, output, error) = await Run(["generate", "Hello", "--schema", schema]);
            Assert.That((code, output), Is.EqualTo((2, "")));
            Assert.That(error, Does.StartWith($"--schema, '{schema}': "));
        }
    }

    [Test]
    public async Task Generate_stats_go_to_standard_error()
    {
        (int code, string output, string error) = await Run(["generate", "--stats", "What is the capital of France?", "--temperature", "0"]);
        Assert.That((code, output), Is.EqualTo((0, "The capital of France is Paris." + Environment.NewLine)));
        Assert.That(error, Does.Match(@"^\(\d+ tokens, [\d.]+ tokens/s; prompt \d+ at [\d.]+/s\)\s+\(The memory's share is not shown: what a token reads fits the CPU's caches\.\)\s*$"));
    }

    [Test]
    public async Task Chat_answers_lines_of_a_pipe()
    {
        (int code, string output, string error) = await Run(["chat", "--temperature", "0"], "My name is Anna.\n\n/think off\nWhat is my name?\n/reset\n/nonsense\n/exit\nnever read\n");
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("Anna").And.Not.Contain("never"));
        Assert.That(error, Does.Contain("/nonsense").And.Contain("anew").And.Contain("Reasoning is off"));
    }

    [Test]
    public async Task Chat_goes_on_where_its_session_ended()
    {
        string file = Path.Combine(_folder, "anna.session");
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
        (int code, string output, string error) = await Run(["chat", "--session", Path.Combine(_folder, "none", "x")], "hi\n");
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
        Assert.That(error, Does.Contain("there is no folder").And.Contain("none"));
        (code, output, error) = await Run(["chat", "--session", _folder], "hi\n");
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
        Assert.That(error, Does.Contain("is a folder"));
        Assert.That(Directory.GetFileSystemEntries(_folder), Is.Empty);
        if (!OperatingSystem.IsWindows())
        {
            string link = Path.Combine(_folder, "link");
            File.CreateSymbolicLink(link, Path.Combine(_folder, "none", "x"));
            (code, output, error) = await Run(["chat", "--session", link], "hi\n");
            Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
            Assert.That(error, Does.Contain($"'{link}'").And.Contain($"there is no folder '{Path.Combine(_folder, "none")}'"));
        }
    }

    /// <summary>With other arithmetic all of it would be computed again for that.</summary>
    [Test]
    public async Task A_conversation_to_which_nothing_is_added_is_not_saved_again([Values("", "--exact")] string arithmetic, [Values("/exit\n", "/help\n", "/think off\n")] string input)
    {
        string file = Path.Combine(_folder, "anna.session");
        string[] chat = ["chat", "--no-think", "--session", file];
        Assert.That((await Run(chat, "My name is Anna.\n")).Code, Is.Zero);
        byte[] before = File.ReadAllBytes(file);
        var time = new DateTime(2020, 1, 2, 3, 4, 5, DateTimeKind.Utc);
        File.SetLastWriteTimeUtc(file, time);
        Assert.That((await Run([.. chat, .. arithmetic.Split(' ', StringSplitOptions.RemoveEmptyEntries)], input)).Code, Is.Zero);
        Assert.That(File.GetLastWriteTimeUtc(file), Is.EqualTo(time));
        Assert.That(File.ReadAllBytes(file), Is.EqualTo(before));
    }

    [Test]
    public async Task A_conversation_that_was_reset_is_not_in_its_file()
    {
        string file = Path.Combine(_folder, "anna.session");
        Assert.That((await Run(["chat", "--no-think", "--session", file, "--system", "Be brief."], "My name is Anna.\n/reset\n")).Code, Is.Zero);
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.LoadSession(file);
        Assert.That(session.TokenCount, Is.Zero);
        Assert.That(Encoding.UTF8.GetString(session.ApplicationData.Span), Does.Contain("Be brief.").And.Not.Contain("Anna"));
    }

    /// <summary>In a process of its own, since the signal reaches all of it.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "There is no signal to send.")]
    [CancelAfter(60_000)]
    public async Task Ctrl_C_stops_an_answer_and_the_chat_goes_on_and_is_saved(CancellationToken cancellationToken)
    {
        string file = Path.Combine(_folder, "story.session");
        string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");
        var start = new ProcessStartInfo("dotnet", [program, "chat", "--session", file, "--no-think", "--ignore-eos"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process chat = Process.Start(start)!;
        try
        {
            await chat.StandardInput.WriteLineAsync("Tell me a story.");
            await chat.StandardInput.FlushAsync(cancellationToken);
            await chat.StandardOutput.ReadAsync(new char[1], cancellationToken);
            using (Process signal = Process.Start("kill", ["-INT", $"{chat.Id}"]))
            {
                await signal.WaitForExitAsync(cancellationToken);
            }

            Assert.That(await chat.StandardError.ReadLineAsync(cancellationToken), Is.EqualTo("(stopped)"));

            // The parser's library would end the program two seconds after the signal.
            await Task.Delay(3000, cancellationToken);
            await chat.StandardInput.WriteLineAsync("/reset");
            chat.StandardInput.Close();
            Assert.That(await chat.StandardError.ReadLineAsync(cancellationToken), Does.Contain("anew"));
            await chat.WaitForExitAsync(cancellationToken);
            Assert.That(chat.ExitCode, Is.Zero);
            Assert.That(file, Does.Exist);
        }
        finally
        {
            chat.Kill();
        }
    }

    [Test]
    public async Task Generate_and_chat_take_copies_of_8_bits()
    {
        string answer = "The capital of France is Paris." + Environment.NewLine;
        Assert.That(await Run(["generate", "--int8-hot-path", "What is the capital of France?", "--temperature", "0"]), Is.EqualTo((0, answer, "")));
        var error = new StringWriter();
        using var source = new CancellationTokenSource();
        using var input = new MemoryStream("/exit\n"u8.ToArray());
        Assert.That(await KimiCommand.RunAsync(["chat", "--int8-hot-path"], new CliStreams(input, TextWriter.Null, error, IsTerminal: true), source), Is.Zero);
        Assert.That(error.ToString(), Does.Contain("copied to 8 bits").And.Contain("Opening: copies 7 of 7"));
    }

    [TestCase("Hello  world", false)]
    [TestCase("hello<|im_end|>\n\n", true)]
    [TestCase("", false)]
    public async Task Tokenize_ids_is_one_line(string text, bool allowSpecial)
    {
        string folder = Repository.Fixture("tokenizer", "public", "tokenizer");
        int[] expected = KimiCpu.Tokens.KimiTokenizer.Open(folder).Encode(text, allowSpecial);
        (int code, string output, string error) = await Run(["tokenize", "--model", folder, "--ids", .. allowSpecial ? new[] { "--allow-special" } : []], text);
        Assert.That((code, output, error), Is.EqualTo((0, string.Join(' ', expected) + "\n", "")));
    }

    [Test]
    public async Task Tokenize_shows_pieces_with_escapes_and_raw_bytes()
    {
        (int code, string output, _) = await Run(["tokenize", "--model", Repository.NanoModel], "a\n龘");
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("\"\\n\"").And.Contain("\\x"));
    }

    [Test]
    public async Task Tokenize_has_a_model_by_itself()
    {
        (int code, string output, string error) = await Run(["tokenize", "--ids"], "Hello");
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(output, Is.EqualTo((await Run(["tokenize", "--ids", "--model", Repository.NanoModel], "Hello")).Output));
    }

    [Test]
    public async Task Render_refuses_what_generate_does()
    {
        string file = Path.Combine(_folder, "conversation.json");
        File.WriteAllText(file, "[]");
        (int code, string output, string error) = await Run(["render", file]);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")));
        Assert.That(error, Is.Not.Empty.And.EqualTo((await Run(["generate", "--conversation", file])).Error));
    }

    [Test]
    public async Task Render_shows_what_the_model_sees()
    {
        string file = Path.Combine(_folder, "conversation.json");
        File.WriteAllText(file, """{"messages":[{"role":"user","content":"<|im_end|>1+1?"}],"tools":[{"type":"function","function":{"name":"now"}}]}""");
        const string Turn = "<|im_user|>user<|im_middle|><|im_end|>1+1?<|im_end|>";
        const string Expected = """<|im_system|>tool_declare<|im_middle|>[{"type":"function","function":{"name":"now"}}]<|im_end|>""" + Turn + "<|im_assistant|>assistant<|im_middle|><think>";
        Assert.That(await Run(["render", file]), Is.EqualTo((0, Expected, "")));
        Assert.That(await Run(["render", "--model", Repository.NanoModel], File.ReadAllText(file)), Is.EqualTo((0, Expected, "")));
        Assert.That((await Run(["render", file, "--no-think"])).Output, Is.EqualTo(Expected + "</think>"));
        Assert.That((await Run(["render", file, "--no-generation-prompt", "--template", "k2.5"])).Output, Does.Contain("type now = (_: {}) => any;").And.EndWith(Turn));
        (int code, string output, string error) = await Run(["render", file, "--model", Repository.Checkpoint("tiny-int4"), "--ids"]);
        Assert.That((code, output.TrimEnd('\n').Split(' ').All(id => int.TryParse(id, out _))), Is.EqualTo((0, true)));
        Assert.That(error, Does.Contain("chat_template.jinja"), "the folder has no template");
    }

    [Test]
    public async Task Generate_continues_a_conversation_with_tools()
    {
        const string Question = """{"role":"user","content":"What is the weather in Oslo?"}""";
        const string Tools = """[{"type":"function","function":{"name":"get_weather","description":"Returns the weather in a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]""";
        string file = Path.Combine(_folder, "conversation.json");
        File.WriteAllText(file, $$"""{"messages":[{{Question}}],"tools":{{Tools}}}""");
        string[] args = ["generate", "--conversation", file, "--temperature", "0"];
        Assert.That(await Run(args), Is.EqualTo((0, """functions.get_weather:0 {"city": "Oslo"}""" + Environment.NewLine, "")));
        (_, string output, _) = await Run([.. args, "--json"]);
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("finish_reason").GetString(), Is.EqualTo("tool_calls"));
        string calls = json.RootElement.GetProperty("tool_calls").GetRawText();
        File.WriteAllText(file, $$"""{"messages":[{{Question}},{"role":"assistant","tool_calls":{{calls}}},{"role":"tool","tool_call_id":"functions.get_weather:0","content":"7°C, cloudy"}],"tools":{{Tools}}}""");
        Assert.That((await Run(args)).Output, Does.Contain("7 degrees"));
        Assert.That((await Run([.. args, "hi"])).Code, Is.EqualTo(KimiCommand.Usage));
    }

    /// <summary>U+009B begins commands to a terminal, as ESC [ does, and JSON need not escape it.</summary>
    [Test]
    public async Task Calls_with_control_characters_reach_files_as_they_are_and_no_terminal([Values] bool terminal)
    {
        string file = Path.Combine(_folder, "conversation.json");
        File.WriteAllText(file, """
            {"messages":[{"role":"user","content":"What is the weather in Oslo?"}],
             "tools":[{"type":"function","function":{"name":"get_weather","description":"Returns the weather in a city.","parameters":{"type":"object","properties":{"city":{"const":"\u009b2J"}},"required":["city"]}}}]}
            """);
        (_, string output, _) = await Run(["generate", "--conversation", file, "--temperature", "0"], showsOnTerminal: terminal);
        Assert.That(output, Does.StartWith("functions.get_weather:0 {").And.Contain(terminal ? "\"\\u009B2J\"" : "\"\u009b2J\""));
        Assert.That(output.Contains('\u009b', StringComparison.Ordinal), Is.EqualTo(!terminal));
    }

    [Test]
    public async Task Logits_agree_with_the_reference([Values] bool all)
    {
        Golden golden = Golden.Load("tiny-int4").Single(g => g.Name == "short");
        string file = Path.Combine(_folder, "out.f32");
        (int code, string output, _) = await Run(["logits", "--model", Repository.Checkpoint("tiny-int4"), "--tokens", string.Join(',', golden.Tokens), "--exact", "--out", file, .. all ? new[] { "--all" } : []]);
        Assert.That(code, Is.Zero);
        float[] logits = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(file)).ToArray();
        float[] expected = all ? golden.Logits : golden.Logits[^512..];
        Assert.That(Agreement.Of(expected, logits, 512).MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(1e-5));
        Assert.That(output, Does.Contain(all ? "7 x 512" : "1 x 512"));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1), "nothing unfinished is left");
    }

    [Test]
    public async Task Inspect_and_verify_tell_about_a_whole_checkpoint()
    {
        (int code, string output, _) = await Run(["inspect", Repository.Checkpoint("tiny-k25")]);
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("INT4 g32").And.Contain("kimi_k25").And.Contain("RoutedExperts"));
        (code, output, _) = await Run(["inspect", Repository.Checkpoint("tiny-fp8"), "--json"]);
        Assert.That(code, Is.Zero);
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("routed_experts").GetInt32(), Is.EqualTo(12));
        (code, output, _) = await Run(["verify", Repository.NanoModel]);
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("Whole"));
    }

    [Test]
    public async Task Verify_names_the_files_to_fetch_again()
    {
        foreach (string file in Directory.GetFiles(Repository.Checkpoint("tiny-bf16")))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)));
        }

        File.Delete(Path.Combine(_folder, "model-00001-of-00003.safetensors"));
        File.WriteAllText(Path.Combine(_folder, "tiktoken.model"), "nonsense");
        (int code, string output, _) = await Run(["verify", _folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.Contain("Fetch again: model-00001-of-00003.safetensors, tiktoken.model"));
        (code, output, _) = await Run(["verify", _folder, "--json"]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("fetch_again").GetArrayLength(), Is.EqualTo(2));
    }

    [Test]
    public async Task Bench_compares_thread_counts()
    {
        string[] args = ["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--tune", "--threads", "2", "--cache", _folder];
        (int code, string output, _) = await Run([.. args, "--json"]);
        Assert.That(code, Is.Zero);
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement results = json.RootElement.GetProperty("results");
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("threads").GetInt32()), Is.EqualTo(new[] { 1, 2 }));
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("per_second").GetDouble()), Is.All.Positive);
        Assert.That(json.RootElement.GetProperty("threads").GetInt32(), Is.InRange(1, 2));
        Assert.That((await Run(args)).Output, Does.Contain("chosen").And.Contain("yes"));
    }

    [Test]
    public async Task Bench_compares_answers_at_once()
    {
        string chart = Path.Combine(_folder, "concurrency.svg");
        string[] args = ["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--concurrency", "1,3", "--decode", "8", "--entering", "6000", "--token-gap", "100", "--chart", chart, "--cache", _folder];
        (int code, string output, string error) = await Run([.. args, "--json"]);
        Assert.That((code, error), Is.EqualTo((0, "")));
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement[] results = [.. json.RootElement.GetProperty("results").EnumerateArray()];
        Assert.That(results.Select(r => r.GetProperty("answers").GetInt32()), Is.EqualTo(new[] { 1, 3 }));
        foreach (string number in new[] { "per_second", "worst_gap_seconds", "per_second_with_prompt", "worst_gap_seconds_with_prompt", "prompt_per_second" })
        {
            Assert.That(results.Select(r => r.GetProperty(number).GetDouble()), Is.All.Positive, number);
        }

        Assert.That(File.ReadAllText(chart), Does.Contain("3 answers").And.EndWith("</svg>\n"));
        Assert.That((await Run(args)).Output, Does.Contain("with a prompt of 600"));
        Assert.That((await Run(["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--concurrency", "0", "--cache", _folder])).Code, Is.EqualTo(KimiCommand.Usage));
    }

    [Test]
    public async Task Bench_writes_its_checkpoint_once_and_measures()
    {
        string[] args = ["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--prefill", "8", "--decode", "4", "--json", "--cache", _folder];
        (int code, string output, string error) = await Run(args);
        Assert.That((code, error), Is.EqualTo((0, "")));
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement results = json.RootElement.GetProperty("results");
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("part").GetString()), Is.EqualTo(new[] { "prefill 8", "decode 4" }));
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("per_second").GetDouble()), Is.All.Positive);
        string checkpoint = Directory.GetDirectories(_folder).Single();
        DateTime written = Directory.GetLastWriteTimeUtc(checkpoint);
        Assert.That((await Run(args)).Code, Is.Zero);
        Assert.That(Directory.GetLastWriteTimeUtc(checkpoint), Is.EqualTo(written));
        Assert.That((await Run(["logits", "--model", checkpoint, "--tokens", "1,2", "--out", Path.Combine(_folder, "l")])).Code, Is.Zero);
    }

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
    [TestCase("--context raises the limit, up to 8,192.", "--context", "4")]
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
        Assert.That(error.Split(Environment.NewLine)[0], Does.Contain(expected).And.Not.Match("[a-z][A-Z]"));
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
        (_, _, error) = await Run(["generate", "--temperature", "0", "--tokens", "3", "--no-think", "--schema", Path.Combine(_folder, "none")], "Hello");
        Assert.That(error, Does.StartWith("--schema takes a file; there is none at "));
        (_, _, error) = await Run(["chat", "--temperature", "0", "--tokens", "3"], "Hello\n");
        Assert.That(error, Does.StartWith("The answer is not whole: --tokens 3 cut it off."));
    }

    [Test]
    public async Task Files_that_cannot_be_read_are_told_with_what_names_them()
    {
        string none = Path.Combine(_folder, "none");
        string wrong = Path.Combine(_folder, "wrong.json");
        File.WriteAllText(wrong, """{"messages":5}""");
        (string[] Args, string Message)[] expected =
        [
            (["generate", "--conversation", none], $"--conversation takes a file; there is none at '{none}'."),
            (["generate", "--conversation", _folder], $"--conversation takes a file; '{_folder}' is a folder."),
            (["generate", "--conversation", wrong], $"--conversation, '{wrong}': messages: expected an array, found number."),
            (["render", none], $"CONVERSATION.json takes a file; there is none at '{none}'."),
            (["simulate", _folder], $"TRACE takes a file; '{_folder}' is a folder."),
            (["trace", "--file", none, "--output", Path.Combine(_folder, "trace")], $"--file takes a file; there is none at '{none}'."),
        ];
        foreach ((string[] args, string message) in expected)
        {
            Assert.That(await Run(args), Is.EqualTo((KimiCommand.Usage, "", message + Environment.NewLine)));
        }
    }

    [Test]
    public async Task Files_that_cannot_be_written_are_told_with_what_names_them()
    {
        string nowhere = Path.Combine(_folder, "none", "f");
        string because = $": '{nowhere}' could not be written, since there is no folder '{Path.GetDirectoryName(nowhere)}'." + Environment.NewLine;
        Assert.That(await Run(["logits", "--tokens", "1", "--out", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--out" + because)));
        Assert.That(await Run(["trace", "--synthetic", "zipf:0.8", "--tokens", "1", "--output", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--output" + because)));
        string trace = Path.Combine(_folder, "trace");
        Assert.That((await Run(["trace", "--prompt", "Hello", "--tokens", "2", "--output", trace])).Code, Is.Zero);
        (int code, _, string error) = await Run(["simulate", trace, "--slots", "4", "--policy", "lru", "--chart", nowhere]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Failed, "--chart" + because)));
        (code, string output, error) = await Run(["bench", "--kernels", "--chart", nowhere]);
        Assert.That((code, output, error), Is.EqualTo((KimiCommand.Failed, "", "--chart" + because)));
        (code, _, error) = await Run(["simulate", trace, "--slots", "4", "--policy", "lru", "--chart", _folder]);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Failed, $"--chart takes a file; '{_folder}' is a folder." + Environment.NewLine)));

        // Before anything is opened, read or measured.
        const string NoModel = "/does/not/exist";
        Assert.That(await Run(["trace", "--model", NoModel, "--output", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--output" + because)));
        Assert.That(await Run(["logits", "--model", NoModel, "--tokens", "1", "--out", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--out" + because)));
        Assert.That(await Run(["bench", "--model", NoModel, "--expert-memory", "1MB", "--timeline", nowhere]), Is.EqualTo((KimiCommand.Failed, "", "--timeline" + because)));
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

    /// <summary>As in <c>kimi generate … | head -c 1</c>.</summary>
    [Test]
    [CancelAfter(60_000)]
    [Platform(Exclude = "Win", Reason = "There the console's own stream is used, which does not tell.")]
    public async Task Answer_ends_when_nobody_reads_it_any_more(CancellationToken cancellationToken)
    {
        string program = typeof(KimiCommand).Assembly.Location;
        var start = new ProcessStartInfo("dotnet", [program, "generate", "--ignore-eos", "Tell me a story."]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process generate = Process.Start(start)!;
        try
        {
            Assert.That(await generate.StandardOutput.ReadAsync(new char[1], cancellationToken), Is.Positive);
            generate.StandardOutput.Close();
            await generate.WaitForExitAsync(cancellationToken);
            Assert.That((generate.ExitCode, await generate.StandardError.ReadToEndAsync(cancellationToken)), Is.EqualTo((KimiCommand.OutputClosed, "")));
        }
        finally
        {
            generate.Kill();
        }
    }

    [Test]
    public async Task Cancellation_has_a_code_of_its_own()
    {
        using var source = new CancellationTokenSource();
        await source.CancelAsync();
        var error = new StringWriter();
        var streams = new CliStreams(Stream.Null, TextWriter.Null, error, false);
        Assert.That(await KimiCommand.RunAsync(["generate", "hi"], streams, source), Is.EqualTo(KimiCommand.Cancelled));
        Assert.That(error.ToString(), Does.Contain("Cancelled"));
    }

    [Test]
    public async Task Every_command_and_option_has_a_help_text()
    {
        RootCommand root = KimiCommand.MakeRoot(new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, false));
        Assert.That(root.Subcommands, Has.Count.EqualTo(13));
        foreach (Command command in root.Subcommands)
        {
            Assert.That(command.Description, Is.Not.Empty);
            Assert.That(command.Options.Select(o => o.Description), Is.All.Not.Empty.And.All.Not.Null, command.Name);
            Assert.That(command.Arguments.Select(a => a.Description), Is.All.Not.Empty, command.Name);
            Assert.That((await Run([command.Name, "--help"])).Code, Is.Zero);
        }
    }

    private static async Task<(int Code, string Output, string Error)> Run(string[] args, string input = "", bool showsOnTerminal = false)
    {
        using var source = new CancellationTokenSource();
        var output = new StringWriter();
        var error = new StringWriter();
        using var stdin = new MemoryStream(Encoding.UTF8.GetBytes(input));
        int code = await KimiCommand.RunAsync(args, new CliStreams(stdin, output, error, IsTerminal: false) { ShowsOnTerminal = showsOnTerminal }, source);
        return (code, output.ToString(), error.ToString());
    }
}
