// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Text.Json;
using KimiCpu.Cli;

namespace KimiCpu.Tests.Cli;

[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class GenerateCommandTests : CommandFixture
{
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

    /// <summary>Whether a text is piped or given makes no difference, but where it is continued as it is.</summary>
    [Test]
    public async Task The_end_of_a_piped_line_is_not_part_of_the_question()
    {
        int given = await PromptTokens("", "Hello");
        Assert.That(await PromptTokens("Hello"), Is.EqualTo(given));
        Assert.That(await PromptTokens("Hello\n"), Is.EqualTo(given));
        Assert.That(await PromptTokens("Hello\r\n"), Is.EqualTo(given));
        Assert.That(await PromptTokens("Hello\n\n"), Is.GreaterThan(given));
        Assert.That(await PromptTokens("Hello\n", "--raw"), Is.GreaterThan(await PromptTokens("Hello", "--raw")));
    }

    /// <summary>A model that does not see it would make up an answer.</summary>
    [Test]
    public async Task What_is_piped_in_beside_a_prompt_goes_before_it()
    {
        int both = await PromptTokens("", "My name is Anna.\n\nWhat is my name?");
        Assert.That(await PromptTokens("My name is Anna.\n", "What is my name?"), Is.EqualTo(both).And.GreaterThan(await PromptTokens("", "What is my name?")));
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
        string schema = Path.Combine(Folder, "schema.json");
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
    public async Task Generate_continues_a_conversation_with_tools()
    {
        const string Question = """{"role":"user","content":"What is the weather in Oslo?"}""";
        const string Tools = """[{"type":"function","function":{"name":"get_weather","description":"Returns the weather in a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]""";
        string file = Path.Combine(Folder, "conversation.json");
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
        string file = Path.Combine(Folder, "conversation.json");
        File.WriteAllText(file, """
            {"messages":[{"role":"user","content":"What is the weather in Oslo?"}],
             "tools":[{"type":"function","function":{"name":"get_weather","description":"Returns the weather in a city.","parameters":{"type":"object","properties":{"city":{"const":"\u009b2J"}},"required":["city"]}}}]}
            """);
        (_, string output, _) = await Run(["generate", "--conversation", file, "--temperature", "0"], showsOnTerminal: terminal);
        Assert.That(output, Does.StartWith("functions.get_weather:0 {").And.Contain(terminal ? "\"\\u009B2J\"" : "\"\u009b2J\""));
        Assert.That(output.Contains('\u009b', StringComparison.Ordinal), Is.EqualTo(!terminal));
    }

    /// <summary>As in <c>kimi generate … | head -c 1</c>.</summary>
    [Test]
    [CancelAfter(60_000)]
    [Platform(Exclude = "Win", Reason = "There the console's own stream is used, which does not tell.")]
    public async Task Answer_ends_when_nobody_reads_it_any_more(CancellationToken cancellationToken)
    {
        string program = typeof(KimiCommand).Assembly.Location;
        var start = new ProcessStartInfo("dotnet", [program, "generate", "--ignore-eos", "Tell me a story."]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        using Process generate = Process.Start(start)!;
        try
        {
            generate.StandardInput.Close();
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

    private static async Task<int> PromptTokens(string input, params string[] args)
    {
        (_, string output, _) = await Run(["generate", "--json", "--tokens", "1", .. args], input);
        using JsonDocument json = JsonDocument.Parse(output);
        return json.RootElement.GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
    }
}
