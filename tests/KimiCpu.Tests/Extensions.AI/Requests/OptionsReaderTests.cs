// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Extensions.AI.Requests;

/// <summary>No member of <see cref="ChatOptions"/> is ignored; what frameworks keep in it for themselves is left alone.</summary>
[TestFixture]
internal sealed class OptionsReaderTests
{
    private static readonly AIFunction s_tool = AIFunctionFactory.Create((string city) => city, "get_weather", "Weather.");

    [Test]
    public void Every_member_of_ChatOptions_is_looked_at_here()
    {
        string[] known =
        [
            "ConversationId", "Instructions", "Temperature", "MaxOutputTokens", "TopP", "TopK", "FrequencyPenalty", "PresencePenalty", "Seed", "Reasoning", "ResponseFormat", "ModelId",
            "StopSequences", "AllowMultipleToolCalls", "ToolMode", "Tools", "AllowBackgroundResponses", "ContinuationToken", "RawRepresentationFactory", "AdditionalProperties",
        ];
        Assert.That(typeof(ChatOptions).GetProperties().Select(p => p.Name), Is.EquivalentTo(known), "a member that is new must be honoured or refused");
    }

    [Test]
    public void Members_become_those_of_the_model()
    {
        GenerationOptions read = Read(new ChatOptions
        {
            Temperature = 0.3f,
            TopK = 7,
            TopP = 0.9f,
            FrequencyPenalty = 0.1f,
            PresencePenalty = 0.2f,
            MaxOutputTokens = 99,
            Seed = -1,
            StopSequences = ["a", "b"],
            ModelId = "KIMI-nano",
            Tools = [s_tool],
        });
        Assert.That((read.Temperature, read.TopK, read.TopP, read.MaxTokens), Is.EqualTo((0.3f, (int?)7, 0.9f, (int?)99)));
        Assert.That((read.FrequencyPenalty, read.PresencePenalty, read.Seed), Is.EqualTo((0.1f, 0.2f, (ulong?)ulong.MaxValue)));
        Assert.That(read.StopSequences, Is.EqualTo(new[] { "a", "b" }));
        Assert.That((read.Tools.Single().Name, read.Tools.Single().Description), Is.EqualTo(("get_weather", "Weather.")));
        Assert.That(read.Tools.Single().Parameters!.Value.GetProperty("properties").GetProperty("city").GetProperty("type").GetString(), Is.EqualTo("string"));
        Assert.That(Read(null), Is.EqualTo(new GenerationOptions { AllowUnenforceableTools = true }));
    }

    [Test]
    public void No_tokens_are_refused_under_the_name_that_callers_know() =>
        Assert.That(() => Read(new ChatOptions { MaxOutputTokens = 0 }), Throws.InstanceOf<ArgumentOutOfRangeException>().With.Property("ParamName").EqualTo("MaxOutputTokens").And.Message.Contains("found 0"));

    [Test]
    public void Own_options_are_the_base_and_members_that_are_set_win()
    {
        GenerationOptions read = Read(new ChatOptions
        {
            Temperature = 0.3f,
            StopSequences = ["b"],
            RawRepresentationFactory = _ => new GenerationOptions { Temperature = 1, MinP = 0.1f, StopSequences = ["a"], Tools = [new KimiTool("own")] },
            Tools = [s_tool],
        });
        Assert.That((read.Temperature, read.MinP), Is.EqualTo((0.3f, 0.1f)));
        Assert.That(read.StopSequences, Is.EqualTo(new[] { "a", "b" }));
        Assert.That(read.Tools.Select(t => t.Name), Is.EqualTo(new[] { "own", "get_weather" }));
        Assert.That(Read(new ChatOptions { RawRepresentationFactory = _ => null }).Temperature, Is.EqualTo(new GenerationOptions().Temperature));
    }

    [Test]
    public void Additional_properties_are_read_by_their_keys()
    {
        GenerationOptions read = Read(new ChatOptions
        {
            AdditionalProperties = new()
            {
                ["min_p"] = 0.05,
                ["repetition_penalty"] = JsonElement.Parse("1.1"),
                ["max_reasoning_tokens"] = 12L,
                ["thinking"] = JsonElement.Parse("false"),
                ["preserve_thinking"] = true,
                ["constrain_tool_arguments"] = false,
                ["allow_unenforceable_tools"] = true,
                ["logprobs"] = true,
                ["top_logprobs"] = 3,
            },
        });
        Assert.That((read.MinP, read.RepetitionPenalty, read.MaxReasoningTokens, read.Thinking, read.PreserveThinking), Is.EqualTo((0.05f, 1.1f, (int?)12, false, true)));
        Assert.That((read.LogProbabilities, read.TopLogProbabilities, read.ConstrainToolArguments, read.AllowUnenforceableTools), Is.EqualTo((true, 3, false, true)));
        Assert.That(() => Read(new ChatOptions { AdditionalProperties = new() { ["min_p"] = "much" } }), Throws.ArgumentException.With.Message.Contains("min_p"));
    }

    /// <summary>AG-UI's endpoints put their input there with each call, and applications what their middleware needs.</summary>
    [Test]
    public void Keys_of_others_are_skipped()
    {
        string[] strangers = ["agui_input", "ag_ui_state", "ag_ui_context", "ag_ui_forwarded_properties", "ag_ui_thread_id", "ag_ui_run_id", "EndUserId", "tenant", "strict", "tools", "map", "admin_panel"];
        var properties = new AdditionalPropertiesDictionary { ["min_p"] = 0.05 };
        foreach (string key in strangers)
        {
            properties[key] = key == "ag_ui_state" ? default(JsonElement) : new object();
        }

        Request read = new OptionsReader(() => "kimi-nano").Read([new(ChatRole.User, "?")], new ChatOptions { AdditionalProperties = properties }, null!);
        Assert.That(read.Options.MinP, Is.EqualTo(0.05f));
        Assert.That(read.SkippedKeys, Is.EquivalentTo(strangers));
        Assert.That(read.Options, Is.EqualTo(Read(new ChatOptions { AdditionalProperties = new() { ["min_p"] = 0.05 } })));
    }

    [TestCase("min-p", "min_p")]
    [TestCase("MinP", "min_p")]
    [TestCase("top_logprob", "top_logprobs")]
    [TestCase("repetion_penalty", "repetition_penalty")]
    [TestCase("reasoning_tokens", "max_reasoning_tokens")]
    [TestCase("thinkin", "thinking")]
    public void A_misspelt_key_is_told_with_the_one_that_was_meant(string key, string meant) =>
        Assert.That(() => Read(new ChatOptions { AdditionalProperties = new() { [key] = 1 } }), Throws.InstanceOf<NotSupportedException>().With.Message.Contains($"'{key}'").And.Message.Contains($"did you mean {meant}?"));

    /// <summary>An answer without them is not the one that was asked for.</summary>
    [Test]
    public void Options_of_other_engines_are_refused([Values("num_ctx", "think", "n", "response_format", "stop_sequences", "top_k", "TopK", "temperature", "max_tokens", "reasoning_effort", "guided_json", "repeat_penalty")] string key) =>
        Assert.That(() => Read(new ChatOptions { AdditionalProperties = new() { [key] = 1 } }), Throws.InstanceOf<NotSupportedException>().With.Message.Contains($"'{key}'").And.Message.Not.Contains("did you mean"));

    /// <summary>Rounded it would be something else: no reasoning at all.</summary>
    [Test]
    public void A_part_of_a_token_is_refused([Values("max_reasoning_tokens", "top_logprobs")] string key, [Values] bool isJson)
    {
        object value = isJson ? JsonElement.Parse("0.4") : 0.4;
        Assert.That(() => Read(new ChatOptions { AdditionalProperties = new() { [key] = value } }), Throws.ArgumentException.With.Message.Contains($"'{key}' cannot be 0.4"));
        Assert.That(() => Read(new ChatOptions { AdditionalProperties = new() { [key] = 1e10 } }), Throws.ArgumentException.With.Message.Contains(key));
        Assert.That(Read(new ChatOptions { AdditionalProperties = new() { [key] = JsonElement.Parse("4.0"), ["logprobs"] = true } }), Is.Not.Null);
    }

    [TestCase(ReasoningEffort.None, false, 0)]
    [TestCase(ReasoningEffort.Low, true, 1024)]
    [TestCase(ReasoningEffort.Medium, true, 8192)]
    [TestCase(ReasoningEffort.High, true, null)]
    [TestCase(ReasoningEffort.ExtraHigh, true, null)]
    public void Efforts_are_budgets(ReasoningEffort effort, bool thinks, int? budget)
    {
        GenerationOptions read = Read(new ChatOptions { Reasoning = new() { Effort = effort } });
        Assert.That((read.Thinking, read.MaxReasoningTokens), Is.EqualTo((thinks, budget)));
    }

    /// <summary>Of two ways to say it the key wins; and models whose templates cannot leave reasoning away have it closed where it begins, whichever way it is said.</summary>
    [TestCase(null, false, null, false, 0)]
    [TestCase(null, true, null, true, null)]
    [TestCase(ReasoningEffort.None, true, null, true, null)]
    [TestCase(ReasoningEffort.Low, true, null, true, 1024)]
    [TestCase(ReasoningEffort.High, false, null, false, 0)]
    [TestCase(ReasoningEffort.None, true, 12, true, 12)]
    public void Reasoning_is_switched_by_its_key_as_by_efforts(ReasoningEffort? effort, bool thinking, int? budget, bool thinks, int? expected)
    {
        foreach (bool budgetFirst in new[] { false, true })
        {
            var keys = new AdditionalPropertiesDictionary();
            foreach ((string key, object? value) in new (string, object?)[] { ("thinking", thinking), ("max_reasoning_tokens", budget) }.OrderBy(k => k.Item1 == "thinking" == budgetFirst))
            {
                keys[key] = value;
            }

            GenerationOptions read = Read(new ChatOptions { Reasoning = effort is null ? null : new() { Effort = effort }, AdditionalProperties = keys });
            Assert.That((read.Thinking, read.MaxReasoningTokens), Is.EqualTo((thinks, expected)), string.Join(", ", keys.Keys));
        }
    }

    [Test]
    public void Tool_modes_are_choices()
    {
        static ToolChoice Of(ChatToolMode? mode) => Read(new ChatOptions { Tools = [s_tool], ToolMode = mode }).ToolChoice;
        Assert.That(Of(null), Is.EqualTo(ToolChoice.Auto));
        Assert.That(Of(ChatToolMode.Auto), Is.EqualTo(ToolChoice.Auto));
        Assert.That(Of(ChatToolMode.None), Is.EqualTo(ToolChoice.None));
        Assert.That(Of(ChatToolMode.RequireAny), Is.EqualTo(ToolChoice.Required));
        Assert.That(Of(ChatToolMode.RequireSpecific("get_weather")), Is.EqualTo(ToolChoice.Named("get_weather")));
    }

    [Test]
    public void Formats_are_constraints_and_schemas_are_compiled_once()
    {
        var reader = new OptionsReader(() => "kimi-nano");
        KimiConstraint? Of(ChatResponseFormat? format) =>
            reader.CompleteAsync(reader.Read([new(ChatRole.User, "?")], new ChatOptions { ResponseFormat = format }, null!), null!, default).GetAwaiter().GetResult().Constraint;
        Assert.That(Of(null), Is.Null);
        Assert.That(Of(ChatResponseFormat.Text), Is.Null);
        Assert.That(Of(ChatResponseFormat.Json), Is.Not.Null);
        KimiConstraint? first = Of(ChatResponseFormat.ForJsonSchema<Dictionary<string, int>>());
        Assert.That(first, Is.Not.Null.And.SameAs(Of(ChatResponseFormat.ForJsonSchema<Dictionary<string, int>>())));
        Assert.That(() => Of(ChatResponseFormat.ForJsonSchema(JsonElement.Parse("""{"not": {"type": "string"}}"""))), Throws.InstanceOf<KimiConstraintException>());
    }

    /// <summary>A stream may be read when the method that asked for it has returned.</summary>
    [Test]
    public async Task A_schema_outlives_the_document_that_it_is_of()
    {
        var reader = new OptionsReader(() => "kimi-nano");
        Request request;
        using (var document = JsonDocument.Parse("""{"type": "integer"}"""))
        {
            request = reader.Read([new(ChatRole.User, "?")], new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(document.RootElement) }, null!);
        }

        Assert.That((await reader.CompleteAsync(request, null!, default)).Constraint, Is.Not.Null);
    }

    [Test]
    public void Lists_of_ones_own_options_that_are_null_are_named()
    {
        Assert.That(() => Read(new() { RawRepresentationFactory = _ => new GenerationOptions { StopSequences = null! } }), Throws.ArgumentNullException.With.Message.Contains("StopSequences takes a list"));
        Assert.That(() => Read(new() { RawRepresentationFactory = _ => new GenerationOptions { Tools = null! } }), Throws.ArgumentNullException.With.Message.Contains("Tools takes a list"));
    }

    /// <summary>A format takes the place of the constraint of one's own options, so those need not go together.</summary>
    [Test]
    public void A_format_takes_the_place_of_ones_own_constraint()
    {
        static GenerationOptions Own() => new() { Constraint = KimiConstraint.Choice(["a"]), IgnoreEndOfText = true };
        Assert.That(() => Read(new() { RawRepresentationFactory = _ => Own() }), Throws.ArgumentException.With.Message.Contains("IgnoreEndOfText"));
        Assert.That(() => Read(new() { RawRepresentationFactory = _ => Own(), ResponseFormat = ChatResponseFormat.Json }), Throws.ArgumentException.With.Message.Contains("ChatOptions.ResponseFormat"));
        Assert.That(Read(new() { RawRepresentationFactory = _ => Own(), ResponseFormat = ChatResponseFormat.Text }).Constraint, Is.Null);
    }

    [Test]
    public void What_cannot_be_honoured_is_refused_by_name()
    {
        (string Name, ChatOptions Options)[] cases =
        [
            ("ConversationId", new() { ConversationId = "c1" }),
            ("ModelId", new() { ModelId = "gpt-4o" }),
            ("AllowBackgroundResponses", new() { AllowBackgroundResponses = true }),
            ("ContinuationToken", new() { ContinuationToken = ResponseContinuationToken.FromBytes(new byte[] { 1 }) }),
            ("RawRepresentationFactory", new() { RawRepresentationFactory = _ => "text" }),
            ("Tools", new() { Tools = [new HostedWebSearchTool()] }),
            ("Reasoning.Output", new() { Reasoning = new() { Output = ReasoningOutput.Summary } }),
            ("AdditionalProperties", new() { AdditionalProperties = new() { ["num_ctx"] = 5 } }),
        ];
        foreach ((string name, ChatOptions options) in cases)
        {
            Assert.That(() => Read(options), Throws.InstanceOf<NotSupportedException>().With.Message.Contains($"ChatOptions.{name}"), name);
        }
    }

    private static GenerationOptions Read(ChatOptions? options) => new OptionsReader(() => "kimi-nano").Read([new(ChatRole.User, "?")], options, null!).Options;
}
