// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;

namespace KimiCpu.Tests.Cli;

/// <summary>Files of strangers may hold what acts on a terminal: it moves the cursor, names the window, or fills the clipboard.</summary>
[TestFixture]
internal sealed class ForeignTextTests : CommandFixture
{
    private const string Act = "\u001b[2J";
    private const string Escaped = "\\u001b[2J";
    private const string Shown = "\\u001B[2J";

    [Test]
    public async Task Render_shows_it_on_a_terminal_and_keeps_it_elsewhere([Values] bool terminal)
    {
        string file = Path.Combine(Folder, "conversation.json");
        File.WriteAllText(file, $$"""{"messages":[{"role":"user","content":"{{Escaped}}"}]}""");
        (int code, string output, _) = await Run(["render", file, "--no-generation-prompt"], showsOnTerminal: terminal);
        Assert.That(code, Is.Zero);
        Assert.That(output, terminal ? Does.Contain(Shown).And.EndsWith("<|im_end|>\n").And.Not.Contain("\u001b") : Does.Contain(Act).And.EndsWith("<|im_end|>"));
    }

    [Test]
    public async Task Inspect_verify_and_refusals_show_it()
    {
        string source = Repository.Checkpoint("tiny-int4");
        foreach (string path in Directory.GetFiles(source))
        {
            File.Copy(path, Path.Combine(Folder, Path.GetFileName(path)));
        }

        string config = Path.Combine(Folder, "config.json");
        string text = File.ReadAllText(config).Replace("DeepseekV3ForCausalLM", "Deepseek" + Escaped, StringComparison.Ordinal);
        File.WriteAllText(config, text);
        (int code, string output, string error) = await Run(["inspect", Folder], showsOnTerminal: true);
        Assert.That((code, error), Is.EqualTo((KimiCommand.Ok, "")));
        Assert.That(output, Does.Contain("Deepseek" + Shown).And.Not.Contain("\u001b"));
        File.WriteAllText(config, text.Replace("kv_lora_rank", "x", StringComparison.Ordinal).Replace("qk_rope_head_dim", "y", StringComparison.Ordinal));
        (code, output, _) = await Run(["verify", Folder], showsOnTerminal: true);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, output)));
        Assert.That(output, Does.Contain("Deepseek" + Shown).And.Not.Contain("\u001b"));
        (code, _, error) = await Run(["inspect", Folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(error, Does.Contain("Deepseek" + Shown).And.Not.Contain("\u001b"));
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "No name of a file has such characters there.")]
    public async Task Names_of_files_that_a_repack_leaves_out_show_it()
    {
        string source = Path.Combine(Folder, "source");
        Directory.CreateDirectory(source);
        foreach (string path in Directory.GetFiles(Repository.Checkpoint("tiny-k25")))
        {
            File.Copy(path, Path.Combine(source, Path.GetFileName(path)));
        }

        File.WriteAllText(Path.Combine(source, $"x{Act}.safetensors"), "");
        (int code, _, string error) = await Run(["repack", source, Path.Combine(Folder, "target"), "--force"]);
        Assert.That(code, Is.EqualTo(KimiCommand.Ok), error);
        Assert.That(error, Does.Contain($"x{Shown}.safetensors is left out").And.Not.Contain("\u001b"));
    }
}
