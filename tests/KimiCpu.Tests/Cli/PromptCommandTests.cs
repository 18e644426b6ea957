// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

/// <summary>What a model is given: tokens, and the text that its template makes of a conversation.</summary>
[TestFixture]
internal sealed class PromptCommandTests : CommandFixture
{
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

    /// <summary>All of it at once might take more memory than there is.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Tokens_of_a_long_text_are_written_as_they_come([Values] bool ids, CancellationToken cancellationToken)
    {
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var input = new MemoryStream(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("To be, or not to be\n", 5000))));
        var output = new PartsWriter();
        string[] args = ["tokenize", .. ids ? new[] { "--ids" } : []];
        Assert.That(await KimiCommand.RunAsync(args, new CliStreams(input, output, TextWriter.Null, IsTerminal: false), source), Is.Zero);
        string text = string.Concat(output.Parts);
        string[] tokens = text.Split(ids ? ' ' : '\n');
        Assert.That(tokens, Has.Length.GreaterThan(20_000));
        Assert.That(output.Parts.Select(p => p.Length), Has.All.LessThan(20_000));
        Assert.That(text, ids ? Does.Match(@"^(\d+ )+\d+\n$") : Does.StartWith("  id piece" + Environment.NewLine).And.EndWith("\"\\n\"" + Environment.NewLine));
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
        string file = Path.Combine(Folder, "conversation.json");
        File.WriteAllText(file, "[]");
        (int code, string output, string error) = await Run(["render", file]);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")));
        Assert.That(error.Replace("CONVERSATION.json", "--conversation", StringComparison.Ordinal), Is.Not.Empty.And.EqualTo((await Run(["generate", "--conversation", file])).Error));
    }

    [Test]
    public async Task Render_shows_what_the_model_sees()
    {
        string file = Path.Combine(Folder, "conversation.json");
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

    private sealed class PartsWriter : TextWriter
    {
        public List<string> Parts { get; } = [];

        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value) => Parts.Add(value.ToString());

        public override void Write(string? value) => Parts.Add(value ?? "");
    }
}
