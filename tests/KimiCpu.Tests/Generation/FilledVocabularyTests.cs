// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>A model whose vocabulary is filled up to a round number: it has logits of ids that the tokenizer does not know.</summary>
[TestFixture]
internal sealed class FilledVocabularyTests
{
    private const int Ids = SyntheticModel.Vocabulary;
    private const int Rows = Ids + 100;

    private SyntheticModel _files = null!;
    private KimiModel _model = null!;

    [OneTimeSetUp]
    public void Open()
    {
        using var small = new SyntheticModel();
        _files = new SyntheticModel(SyntheticModel.Smallest.Replace($"vocab={Ids}", $"vocab={Rows}", StringComparison.Ordinal));
        File.Copy(Path.Combine(small.Folder, "tiktoken.model"), Path.Combine(_files.Folder, "tiktoken.model"), overwrite: true);
        _model = KimiModel.Open(_files.Folder, new KimiModelOptions { Threads = 1 });
        Assert.That((_model.Tokenizer.VocabularySize, _model.Info.VocabularySize), Is.EqualTo((Ids, Rows)));
    }

    [OneTimeTearDown]
    public void Close()
    {
        _model.Dispose();
        _files.Dispose();
    }

    /// <summary>Nearly every token is as likely as any other.</summary>
    [Test]
    public void Answers_have_only_tokens_that_have_a_text([Values(1, 1.2f)] float repetitionPenalty)
    {
        var options = new GenerationOptions { Temperature = 100, RepetitionPenalty = repetitionPenalty, Seed = 1, MaxTokens = 200, IgnoreEndOfText = true, LogProbabilities = true, TopLogProbabilities = 20 };
        GenerationResult result = _model.Generate(new[] { 1, 2, Ids + 5 }.AsMemory(), options);
        Assert.That(result.Tokens, Has.Count.EqualTo(200).And.All.LessThan(Ids));
        Assert.That(result.LogProbabilities.SelectMany(l => l.Top).Select(t => t.Token), Is.All.LessThan(Ids));
        Assert.That(result.Tokens.Distinct().Count(), Is.GreaterThan(50));
    }

    [Test]
    public void Options_take_no_others()
    {
        Assert.That(() => _model.Generate(new[] { 1 }.AsMemory(), new GenerationOptions { LogitBias = new Dictionary<int, float> { [Ids] = 1 } }), Refused("LogitBias"));
        Assert.That(() => _model.Generate(new[] { 1 }.AsMemory(), new GenerationOptions { StopTokens = [Ids] }), Refused("StopTokens"));

        static NUnit.Framework.Constraints.IResolveConstraint Refused(string option) =>
            Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains(option).And.Message.Contains($"0 … {Ids - 1}");
    }
}
