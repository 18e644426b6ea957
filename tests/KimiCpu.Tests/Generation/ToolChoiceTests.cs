// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Tests.Constraints;

namespace KimiCpu.Tests.Generation;

/// <summary>Whether and how tools are called, from the options to the calls.</summary>
[TestFixture]
internal sealed class ToolChoiceTests
{
    private const string WeatherSchema = """{"type":"object","required":["city","days"],"properties":{"city":{"type":"string","maxLength":12},"days":{"type":"integer","minimum":1,"maximum":14}}}""";

    private static readonly KimiTool s_weather = new("get_weather", "The weather of a city.", WeatherSchema);
    private static readonly KimiTool s_time = new("get_time", "The time.", """{"type":"object","properties":{"zone":{"enum":["UTC","CET"]}}}""");
    private static readonly KimiTool[] s_tools = [s_weather, s_time];

    private KimiModel _model = null!;

    [OneTimeSetUp]
    public void Open() => _model = KimiModel.OpenEmbedded();

    [OneTimeTearDown]
    public void Close() => _model.Dispose();

    [Test]
    public void None_never_calls_where_the_model_would()
    {
        GenerationOptions options = Options() with { Thinking = false, ConstrainToolArguments = false };
        Assert.That(_model.Generate("What is the weather in Paris?", options).ToolCalls, Is.Not.Empty);
        GenerationResult result = _model.Generate("What is the weather in Paris?", options with { ToolChoice = ToolChoice.None });
        Assert.That(result.ToolCalls, Is.Empty);
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Stop));
        Assert.That(result.Text, Is.Not.Empty);
    }

    /// <summary>Hot answers to a broken prompt, of which about every sixth called something, and a conversation that has called before.</summary>
    [Test]
    public void Without_tools_nothing_is_called_unless_anything_may_be()
    {
        GenerationOptions hot = new() { Temperature = 1, MaxTokens = 200 };
        KimiMessage[] prompt = [KimiMessage.User("Hel\ufffdlo")];
        GenerationResult[] free = [.. Enumerable.Range(0, 30).Select(seed => _model.Generate(prompt, hot with { Seed = (ulong)seed, ConstrainToolArguments = false }))];
        GenerationResult[] held = [.. Enumerable.Range(0, 30).Select(seed => _model.Generate(prompt, hot with { Seed = (ulong)seed }))];
        Assert.That(free.Count(r => r.ToolCalls.Count > 0), Is.Positive, "the model would call");
        Assert.That(held.Select(r => r.ToolCalls.Count), Is.All.Zero);
        Assert.That(held.Select(r => r.FinishReason), Has.None.EqualTo(FinishReason.ToolCalls));
    }

    [Test]
    public void An_answer_that_goes_on_behind_its_end_is_as_free_as_without_a_look_at_tools()
    {
        GenerationOptions on = new() { Temperature = 0, MaxTokens = 80, Thinking = false, IgnoreEndOfText = true };
        IReadOnlyList<int> expected = _model.Generate("Who are you?", on with { ConstrainToolArguments = false }).Tokens;
        int end = _model.Tokenizer.SpecialTokenIds["<|im_end|>"];
        Assert.That(expected.SkipWhile(t => t != end).Distinct().Count(), Is.GreaterThan(1), "there is something behind the end");
        Assert.That(_model.Generate("Who are you?", on).Tokens, Is.EqualTo(expected));
    }

    [Test]
    public async Task Required_calls_where_the_model_would_not_and_validly([Values] bool thinking)
    {
        NJsonSchema.JsonSchema oracle = await NJsonSchema.JsonSchema.FromJsonAsync(WeatherSchema);
        int valid = 0;
        for (ulong seed = 0; seed < 12; seed++)
        {
            GenerationOptions options = Options() with { Temperature = 1.3f, Seed = seed, Thinking = thinking, ToolChoice = ToolChoice.Required, MaxReasoningTokens = 40 };
            GenerationResult result = _model.Generate("Who are you?", options);
            if (result.FinishReason == FinishReason.Length)
            {
                continue;
            }

            Assert.That(result.FinishReason, Is.EqualTo(FinishReason.ToolCalls));
            Assert.That(result.Text, Is.Empty);
            Assert.That(result.ToolCalls.Select((c, i) => c.Id == $"functions.{c.Name}:{i}"), Is.All.True);
            foreach (KimiToolCall call in result.ToolCalls)
            {
                Assert.That(call.Name == "get_time" || oracle.Validate(call.Arguments).Count == 0, Is.True, call.Arguments);
                valid++;
            }
        }

        Assert.That(valid, Is.Positive);
    }

    [Test]
    public void A_named_tool_is_called_once_and_ids_go_on_over_the_conversation()
    {
        KimiMessage[] conversation =
        [
            KimiMessage.User("What is the weather in Paris?"),
            new KimiMessage(KimiRole.Assistant, "") { ToolCalls = [new KimiToolCall("functions.get_weather:0", "get_weather", """{"city":"Paris","days":1}""")] },
            KimiMessage.Tool("functions.get_weather:0", "sunny"),
        ];
        GenerationResult result = _model.Generate(conversation, Options() with { ToolChoice = ToolChoice.Named("get_time"), Thinking = false });
        KimiToolCall call = result.ToolCalls.Single();
        Assert.That((call.Name, call.Id), Is.EqualTo(("get_time", "functions.get_time:1")));
        Assert.That(JsonElement.Parse(call.Arguments).ValueKind, Is.EqualTo(JsonValueKind.Object));
    }

    /// <summary>An application leaves out the oldest turns of a long conversation; the model must not be made to write an id that is in what is left.</summary>
    [Test]
    public void A_call_gets_an_id_of_its_own_where_the_beginning_of_the_conversation_was_left_out([Values] bool constrained)
    {
        KimiMessage[] conversation =
        [
            KimiMessage.User("What time is it in Rome?"),
            new KimiMessage(KimiRole.Assistant, "") { ToolCalls = [new KimiToolCall("functions.get_time:1", "get_time", "{}")] },
            KimiMessage.Tool("functions.get_time:1", "15:09"),
            KimiMessage.Assistant("It is 15:09 in Rome."),
            KimiMessage.User("And in Oslo?"),
        ];
        GenerationResult result = _model.Generate(conversation, Options() with { ToolChoice = ToolChoice.Named("get_time"), Thinking = false, ConstrainToolArguments = constrained });
        Assert.That(result.ToolCalls.Single().Id, Is.EqualTo("functions.get_time:2"));
    }

    [Test]
    public void A_budget_of_reasoning_ends_in_the_demanded_call()
    {
        GenerationResult result = _model.Generate("What is the weather in Paris?", Options() with { ToolChoice = ToolChoice.Named("get_weather"), MaxReasoningTokens = 2 });
        Assert.That(result.Usage.ReasoningTokens, Is.LessThanOrEqualTo(2 + 3 + 1));
        Assert.That(result.ToolCalls.Single().Name, Is.EqualTo("get_weather"));
    }

    /// <summary>A call that begins in the reasoning ends it, so what the answer is to be is not asked for any more.</summary>
    [Test]
    public void Free_calls_and_a_constrained_answer_exclude_each_other([Values] bool declared)
    {
        GenerationOptions options = Options() with { Tools = declared ? s_tools : [], Constraint = KimiConstraint.Choice(["x"]), ConstrainToolArguments = false, Temperature = 1.3f };
        int ended = 0;
        for (ulong seed = 0; seed < 12; seed++)
        {
            GenerationResult result = _model.Generate("What is the weather in Paris?", options with { Seed = seed, Thinking = seed % 3 != 0 });
            if (result.FinishReason == FinishReason.Length)
            {
                continue;
            }

            ended++;
            bool called = result.ToolCalls.Count > 0;
            Assert.That(result.Text, Is.EqualTo(called ? "" : "x"));
            Assert.That(result.FinishReason, Is.EqualTo(called ? FinishReason.ToolCalls : FinishReason.Stop));
            Assert.That(called, Is.False.Or.EqualTo(declared));
        }

        Assert.That(ended, Is.Positive);
    }

    [Test]
    public void What_cannot_be_obeyed_is_refused_before_anything_runs()
    {
        GenerationOptions odd = Options() with { Tools = [new KimiTool("odd", null, """{"type":"object","properties":{"n":{"type":"integer","multipleOf":2}}}""")] };
        Assert.That(() => _model.Generate("Hi", odd), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("odd").And.Message.Contains("ConstrainToolArguments"));
        Assert.That(() => _model.Generate("Hi", odd with { ConstrainToolArguments = false, MaxTokens = 1 }), Throws.Nothing);
        Assert.That(() => _model.Generate("Hi", Options() with { ToolChoice = ToolChoice.Named("other") }), Throws.ArgumentException.With.Message.Contains("other"));
        Assert.That(() => _model.Generate("Hi", new GenerationOptions { ToolChoice = ToolChoice.Required }), Throws.ArgumentException);
        Assert.That(() => _model.Generate(new[] { 1, 2, 3 }, new GenerationOptions { ToolChoice = ToolChoice.Required }), Throws.ArgumentException);
    }

    [Test]
    public void Schemas_are_compiled_once_while_they_are_in_use()
    {
        var schemas = new ToolSchemas();
        KimiConstraint first = schemas.Get(s_weather.Parameters!.Value, new CallBudget(CancellationToken.None));
        Assert.That(schemas.Get(JsonElement.Parse(WeatherSchema), new CallBudget(CancellationToken.None)), Is.SameAs(first));
        for (int i = 0; i < ToolSchemas.Capacity; i++)
        {
            schemas.Get(JsonElement.Parse($$"""{"type":"object","title":"{{i}}"}"""), new CallBudget(CancellationToken.None));
        }

        Assert.That(schemas.Get(s_weather.Parameters!.Value, new CallBudget(CancellationToken.None)), Is.Not.SameAs(first), "the oldest is forgotten");
    }

    /// <summary>A request may have 128 tools; were fewer kept than those of the requests that take turns, each would find none of its own.</summary>
    [Test]
    public void Schemas_of_several_requests_with_many_tools_are_compiled_once_whoever_is_next()
    {
        int compiled = 0;
        var schemas = new ToolSchemas
        {
            Compiler = (schema, budget) =>
            {
                compiled++;
                return KimiConstraint.ToolArguments(schema, budget);
            },
        };
        for (int turn = 0; turn < 9; turn++)
        {
            for (int tool = 0; tool < 120; tool++)
            {
                schemas.Get(JsonElement.Parse($$"""{"type":"object","title":"{{tool}} of {{turn % 3}}"}"""), new CallBudget(CancellationToken.None));
            }
        }

        Assert.That(compiled, Is.EqualTo(3 * 120));
    }

    [Test]
    public void Schemas_that_grow_while_in_use_make_others_be_forgotten()
    {
        JsonElement grown = JsonElement.Parse("""{"type":"object","properties":{"code":{"type":"string","pattern":"^([a-c]{4},){300}$"}}}""");
        long unused = KimiConstraint.JsonSchema(grown).Bytes + KimiConstraint.JsonSchema(s_weather.Parameters!.Value).Bytes;
        var schemas = new ToolSchemas(maxBytes: unused + 5000);
        KimiConstraint first = schemas.Get(grown, new CallBudget(CancellationToken.None));
        KimiConstraint second = schemas.Get(s_weather.Parameters!.Value, new CallBudget(CancellationToken.None));
        Assert.That(schemas.Get(grown, new CallBudget(CancellationToken.None)), Is.SameAs(first), "there is room for both");
        _ = schemas.Get(s_weather.Parameters!.Value, new CallBudget(CancellationToken.None));
        new ConstraintReader(first).Accepts("{\"code\":\"" + string.Concat(Enumerable.Repeat("abca,", 300)) + "\"}");
        Assert.That(first.Bytes, Is.GreaterThan(unused + 5000));
        Assert.That(schemas.Get(s_weather.Parameters!.Value, new CallBudget(CancellationToken.None)), Is.SameAs(second), "the latest one stays");
        Assert.That(schemas.Get(grown, new CallBudget(CancellationToken.None)), Is.Not.SameAs(first));
    }

    /// <summary>That they were refused is known without their texts, which may be as long as a request.</summary>
    [Test, NonParallelizable, CancelAfter(120_000)]
    public void Schemas_that_are_refused_for_their_length_are_not_kept()
    {
        var schemas = new ToolSchemas();
        int refused = 0;
        long before = GC.GetTotalMemory(forceFullCollection: true);
        for (int i = 0; i < 40; i++)
        {
            JsonElement schema = JsonElement.Parse($"{{\"title\":\"{i / 2}{new string('x', 1_000_000)}\"}}");
            schemas.GetOrAny(schema, (_, _) => refused++, new CallBudget(CancellationToken.None));
        }

        Assert.That(refused, Is.EqualTo(20), "once for each");
        Assert.That(GC.GetTotalMemory(forceFullCollection: true) - before, Is.LessThan(10_000_000), "their texts take 40 MB");
        GC.KeepAlive(schemas);
    }

    private static GenerationOptions Options() => new() { Temperature = 0, MaxTokens = 300, Tools = s_tools };
}
