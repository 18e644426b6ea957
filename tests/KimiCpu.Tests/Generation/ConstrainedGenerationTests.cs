// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints;
using KimiCpu.Generation;
using NJsonSchema;

namespace KimiCpu.Tests.Generation;

/// <summary>Constraints with the embedded model, from the call to the text.</summary>
[TestFixture]
internal sealed class ConstrainedGenerationTests
{
    private const string Schema = """
        {"type":"object","required":["city","days","tags"],"properties":{"unit":{"enum":["celsius","fahrenheit"]},"city":{"type":"string","minLength":1,"maxLength":20},
        "days":{"type":"integer","minimum":1,"maximum":14},"tags":{"type":"array","maxItems":3,"items":{"type":"string","pattern":"^[a-z]{1,8}$"}},"note":{"type":["string","null"],"maxLength":30}}}
        """;

    private KimiModel _model = null!;

    [OneTimeSetUp]
    public void Open() => _model = KimiModel.OpenEmbedded();

    [OneTimeTearDown]
    public void Close() => _model.Dispose();

    [Test]
    public async Task Hot_answers_always_obey_the_schema()
    {
        JsonSchema oracle = await JsonSchema.FromJsonAsync(Schema);
        KimiConstraint constraint = KimiConstraint.JsonSchema(Schema);
        for (ulong seed = 0; seed < 60; seed++)
        {
            GenerationResult result = _model.Generate("What is the weather in Paris?", Options(constraint, seed) with { Thinking = seed % 4 == 0 });
            if (result.FinishReason == FinishReason.Stop)
            {
                Assert.That(oracle.Validate(result.Text), Is.Empty, result.Text);
            }
            else
            {
                Assert.That(result.Usage.ReasoningTokens, Is.EqualTo(result.Usage.CompletionTokens), "only reasoning can be so long");
            }
        }
    }

    [Test]
    public void Greedy_answers_obey_patterns_and_choices()
    {
        var options = new GenerationOptions { Temperature = 0, MaxTokens = 200 };
        Assert.That(_model.Generate("What is 7 + 8?", options with { Constraint = KimiConstraint.Regex("[0-9]{2}") }).Text, Does.Match("^[0-9]{2}$"));
        string[] cities = ["Rome", "Paris", "Berlin"];
        GenerationResult result = _model.Generate("What is the capital of France?", options with { Constraint = KimiConstraint.Choice(cities) });
        Assert.That(cities, Does.Contain(result.Text));
        Assert.That(result.Reasoning, Is.Not.Empty, "reasoning comes first and is free");
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Stop));
    }

    [Test]
    public async Task Batched_answers_equal_those_alone()
    {
        KimiConstraint constraint = KimiConstraint.JsonSchema(Schema);
        GenerationOptions[] options = [.. Enumerable.Range(0, 6).Select(i => i == 5 ? Options(null, 5) : Options(constraint, (ulong)i) with { TopP = 0.9f, TopK = i * 10 })];
        string[] alone = [.. options.Select(o => _model.Generate("Tell me a story.", o).Text)];
        string[] together = await Task.WhenAll(options.Select(o => Task.Run(() => _model.Generate("Tell me a story.", o).Text)));
        Assert.That(together, Is.EqualTo(alone));
    }

    [Test]
    public void Log_probabilities_stay_those_of_the_model()
    {
        int[] prompt = _model.Tokenizer.Encode("ROMEO:\n");
        var options = new GenerationOptions { Temperature = 0, MaxTokens = 1, LogProbabilities = true, TopLogProbabilities = 5 };
        TokenLogProbability free = _model.Generate(prompt.AsMemory(), options).LogProbabilities[0];
        TokenLogProbability held = _model.Generate(prompt.AsMemory(), options with { Constraint = KimiConstraint.Choice(["\u0001zz"]) }).LogProbabilities[0];
        Assert.That(held.Top, Is.EqualTo(free.Top));
        Assert.That(held.Token, Is.Not.EqualTo(free.Token));
        Assert.That(held.LogProbability, Is.LessThan(free.Top[^1].LogProbability));
    }

    [TestCase(1, 1f, 0f)]
    [TestCase(null, 0.5f, 0f)]
    [TestCase(null, 1f, 0.9f)]
    [TestCase(3, 0.3f, 0.5f)]
    public void Filters_choose_among_what_is_allowed(int? topK, float topP, float minP)
    {
        KimiConstraint constraint = KimiConstraint.Choice(["alpha", "beta", "gamma"]);
        for (ulong seed = 0; seed < 5; seed++)
        {
            var options = new GenerationOptions { TopK = topK, TopP = topP, MinP = minP, Temperature = 1.5f, Seed = seed, Thinking = false, Constraint = constraint, RepetitionPenalty = 1.3f, FrequencyPenalty = 1 };
            Assert.That(_model.Generate("Say a letter.", options).Text, Is.AnyOf("alpha", "beta", "gamma"));
        }
    }

    [Test]
    public void Stops_and_limits_work_beside_a_constraint()
    {
        KimiConstraint constraint = KimiConstraint.Choice(["one, two, three"]);
        var options = new GenerationOptions { Temperature = 0, Thinking = false, Constraint = constraint };
        Assert.That(_model.Generate("Count.", options with { StopSequences = [", th"] }).Text, Is.EqualTo("one, two"));
        GenerationResult cut = _model.Generate("Count.", options with { MaxTokens = 2 });
        Assert.That(cut.FinishReason, Is.EqualTo(FinishReason.Length));
        Assert.That("one, two, three".StartsWith(cut.Text, StringComparison.Ordinal), Is.True, cut.Text);
    }

    [Test]
    public void Options_that_leave_nothing_are_refused()
    {
        KimiConstraint constraint = KimiConstraint.Choice(["x"]);
        int x = _model.Tokenizer.Encode("x").Single();
        foreach (float temperature in new[] { 0f, 1f })
        {
            var options = new GenerationOptions { Temperature = temperature, Thinking = false, Constraint = constraint, LogitBias = new Dictionary<int, float> { [x] = float.NegativeInfinity } };
            Assert.That(() => _model.Generate("Say x.", options), Throws.ArgumentException.With.Property(nameof(ArgumentException.ParamName)).EqualTo("options").And.Message.Contains("LogitBias"));
        }

        Assert.That(() => _model.Generate("Say x.", new GenerationOptions { Constraint = constraint, IgnoreEndOfText = true }), Throws.ArgumentException);
    }

    private static GenerationOptions Options(KimiConstraint? constraint, ulong seed) =>
        new() { Temperature = 1.5f, Seed = seed, MaxTokens = 600, Thinking = false, Constraint = constraint };
}
