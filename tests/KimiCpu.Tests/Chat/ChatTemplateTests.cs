// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Chat;

/// <summary>Formats are read from templates; the templates here are the least that has a release's features.</summary>
[TestFixture]
internal sealed class ChatTemplateTests
{
    private const string Head = "{%- if tools -%}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson(separators=(',', ':')) }}<|im_end|>{%- endif -%}";
    private const string Prompt = "{%- if messages[0]['role'] != 'system' -%}<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>{%- endif -%}";
    private const string Calls = "<|tool_calls_section_begin|>{% for tool_call in c %}<|tool_call_begin|>{{ tool_call['id'] }}<|tool_call_argument_begin|>{{ a }}<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>";
    private const string Turns = "<|im_user|>{{ name }}<|im_middle|>\n## Return of {{ tool_call_id }}\n<|media_begin|>image<|media_end|><|im_end|>";
    private const string Generation = "{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}";
    private const string Instruct = Head + Prompt + Turns + Calls + Generation;
    private const string Thinking = Head + Prompt + Turns + "<think></think>{{ content }}<think>{{ rc }}</think>" + Calls + Generation;
    private const string K25 = Head + "{# {%- set preserve_thinking = preserve_thinking | default(false) -%} #}" + Turns + "<think></think>{{ content }}<think>{{ rc }}</think>" + Calls
        + "{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{% if thinking is false %}<think></think>{% else %}<think>{% endif %}{%- endif -%}";

    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Releases_are_told_apart()
    {
        Assert.That(ChatTemplate.ReadTemplate(Instruct), Is.EqualTo((ChatFormat.K2Instruct with { SortsToolKeys = false }, (string?)null)));
        Assert.That(ChatTemplate.ReadTemplate(Thinking), Is.EqualTo((ChatFormat.K2Thinking with { SortsToolKeys = false }, (string?)null)));
        Assert.That(ChatTemplate.ReadTemplate(K25), Is.EqualTo((ChatFormat.Nano, (string?)null)));
        Assert.That(ChatTemplate.ReadTemplate(K25.Replace("preserve_thinking", "", StringComparison.Ordinal)).Format.History, Is.EqualTo(ReasoningHistory.Dropped));
        Assert.That(ChatTemplate.ReadTemplate(K25.Replace("<think></think>{{ content }}", "", StringComparison.Ordinal)).Format.History, Is.EqualTo(ReasoningHistory.Kept));
        string counted = "{% set id = 'functions.' + tool_call['function']['name'] + ':' + n %}" + Instruct;
        Assert.That(ChatTemplate.ReadTemplate(counted).Format.RewritesCallIds, Is.False);
        Assert.That(ChatTemplate.ReadTemplate(counted.Replace("tool_call['id']", "id", StringComparison.Ordinal)).Format.RewritesCallIds, Is.True);
    }

    [Test]
    public void The_embedded_models_template_is_recognized() =>
        Assert.That(ChatTemplate.Read(new FolderCheckpointFiles(Repository.NanoModel)), Is.EqualTo((ChatFormat.Nano, (string?)null)));

    [Test]
    public void The_folders_python_files_say_how_tools_are_declared()
    {
        WriteTemplate("{% if tools_ts_str %}{{ tools_ts_str }}{% endif %}" + K25);
        Assert.That(Read().Doubt, Does.Contain("tool_declaration_ts.py"));
        File.WriteAllText(Path.Combine(_folder, "tokenization_kimi.py"), "def deep_sort_dict(obj): ...");
        Assert.That(Read().Format, Is.EqualTo(ChatFormat.K25 with { TypeScriptTools = false }));
        File.WriteAllText(Path.Combine(_folder, "tool_declaration_ts.py"), "");
        Assert.That(Read(), Is.EqualTo((ChatFormat.K25, (string?)null)));
    }

    [Test]
    public void Unknown_templates_get_the_nearest_format_and_a_warning()
    {
        (ChatFormat format, string? doubt) = ChatTemplate.ReadTemplate(Thinking.Replace("<think>{{ rc }}", "Think step by step.<think>{{ rc }}", StringComparison.Ordinal));
        Assert.That(format, Is.EqualTo(ChatFormat.K2Thinking with { SortsToolKeys = false }));
        Assert.That(doubt, Does.Contain("Think step by step.").And.Contain("kimi render"));
        Assert.That(ChatTemplate.ReadTemplate(Instruct + "{{ '<|im_system|>note<|im_end|>' }}").Doubt, Does.Contain("note"));
        Assert.That(ChatTemplate.ReadTemplate(Instruct.Replace("## Return of", "", StringComparison.Ordinal)).Doubt, Does.Contain("## Return of"));
        Assert.That(ChatTemplate.ReadTemplate(Instruct + Prompt.Replace("Kimi", "Kimi with tools", StringComparison.Ordinal)).Doubt, Does.Contain("2 default system prompts"));
        (format, doubt) = ChatTemplate.Read(new FolderCheckpointFiles(Repository.Checkpoint("tiny-int4")));
        Assert.That((format, doubt), Is.EqualTo((new ChatFormat(), doubt)));
        Assert.That(doubt, Does.Contain("chat_template.jinja"));
        Assert.That(ChatTemplate.ReadTemplate("{{ {% {# '<").Format, Is.EqualTo(new ChatFormat()));
    }

    /// <summary>It is looked through when a model opens, and that takes hours for what a hostile file may hold.</summary>
    [TestCase("chat_template.jinja")]
    [TestCase("tokenizer_config.json")]
    public void A_template_is_no_longer_than_templates_are_wherever_it_stands(string file)
    {
        Write(1 << 17);
        Assert.That(Read().Doubt, Does.Contain("not one of the known ones"));
        Write((1 << 17) + 1);
        Assert.That(Read, Throws.TypeOf<CheckpointException>().With.Message.Contains(file).And.Message.Contains("131,073"));

        void Write(int length)
        {
            string template = new('x', length);
            File.WriteAllText(Path.Combine(_folder, file), file == "chat_template.jinja" ? template : $$"""{"chat_template": "{{template}}"}""");
        }
    }

    private void WriteTemplate(string template) => File.WriteAllText(Path.Combine(_folder, "chat_template.jinja"), template);

    private (ChatFormat Format, string? Doubt) Read() => ChatTemplate.Read(new FolderCheckpointFiles(_folder));
}
