// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Tests.Model;
using KimiCpu.Tests.Tokens;

namespace KimiCpu.Tests.Generation;

/// <summary>What the engine's own thread allocates for a token.</summary>
[TestFixture]
internal sealed class EngineAllocationTests
{
    private const int Vocabulary = 20_000;
    private const int Answer = 40;

    /// <summary>A copy of the logits would have 80 KB here, and 655 KB in the heap of large objects for Kimi K2.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Log_probabilities_make_no_copy_of_the_vocabulary_for_each_token(CancellationToken cancellationToken)
    {
        using var files = new SyntheticModel(SyntheticModel.Smallest.Replace("vocab=512", $"vocab={Vocabulary}", StringComparison.Ordinal));
        using var model = new ModelUnderTest(files.Folder, Backend.CpuFast, threads: 1);
        var allocated = new List<long>();
        model.Forward.Routed = (layer, _) =>
        {
            // Once in each step.
            if (layer == model.Weights.Shape.LayerCount - 1)
            {
                allocated.Add(GC.GetAllocatedBytesForCurrentThread());
            }
        };
        using GenerationEngine engine = Engines.Make(model.Forward, model.Cache, 16, new FakeMemory());
        var options = new GenerationOptions { Temperature = 0, LogProbabilities = true, TopLogProbabilities = 5, LogitBias = new Dictionary<int, float> { [7] = 1e6f }, MaxTokens = Answer };
        var answer = new AnswerBuilder(TokenizerCases.Tokenizer, options, new HashSet<int>(), KimiCpu.Chat.AnswerLayout.Plain);
        var job = new GenerationJob([1, 2, 3], Answer, options, answer, streamed: false, constraint: null, cancellationToken);
        engine.Submit(job);
        GenerationResult result = job.Completion.WaitAsync(cancellationToken).GetAwaiter().GetResult();
        Assert.That(result.LogProbabilities, Has.Count.EqualTo(Answer).And.All.Matches<TokenLogProbability>(l => l is { Token: 7, Top.Count: 5 }));

        // The first tokens make what the others use again.
        long[] steps = [.. allocated.Zip(allocated.Skip(1), (before, after) => after - before).Skip(3)];
        Assert.That(steps, Has.Length.GreaterThan(30).And.All.LessThan(16_000));
    }
}
