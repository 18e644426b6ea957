// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using KimiCpu.Cli.Commands;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Cli.Commands;

[TestFixture]
internal sealed class SamplingOptionsTests
{
    /// <summary>Each has a value of its own, so that none can be taken for another.</summary>
    [Test]
    public void Every_option_reaches_the_sampler_as_itself()
    {
        GenerationOptions read = Read(
            "--tokens", "8", "--temperature", "0.9", "--top-k", "20", "--top-p", "0.8", "--min-p", "0.01", "--repetition-penalty", "1.1", "--presence-penalty", "0.2", "--frequency-penalty", "0.3",
            "--logit-bias", "65=-inf", "--logit-bias", "66=1.5", "--logit-bias", "66=2.5", "--seed", "7", "--stop", "a", "--stop", "b", "--stop-token", "9", "--stop-token", "10", "--ignore-eos",
            "--no-think", "--max-reasoning-tokens", "11", "--preserve-thinking", "--logprobs", "3");
        Assert.That(read, Is.EqualTo(new GenerationOptions
        {
            MaxTokens = 8,
            Temperature = 0.9f,
            TopK = 20,
            TopP = 0.8f,
            MinP = 0.01f,
            RepetitionPenalty = 1.1f,
            PresencePenalty = 0.2f,
            FrequencyPenalty = 0.3f,
            LogitBias = new Dictionary<int, float> { [65] = float.NegativeInfinity, [66] = 2.5f },
            Seed = 7,
            StopSequences = ["a", "b"],
            StopTokens = [9, 10],
            IgnoreEndOfText = true,
            Thinking = false,
            MaxReasoningTokens = 11,
            PreserveThinking = true,
            LogProbabilities = true,
            TopLogProbabilities = 3,
        }));
    }

    [Test]
    public void What_is_not_given_is_as_in_the_library() =>
        Assert.That(Read() with { LogitBias = null }, Is.EqualTo(new GenerationOptions()));

    private static GenerationOptions Read(params string[] args)
    {
        var options = new SamplingOptions();
        var command = new Command("test");
        options.AddTo(command);
        options.AddLogProbabilitiesTo(command);
        ParseResult parsed = command.Parse(args);
        Assert.That(parsed.Errors, Is.Empty);
        return options.Read(parsed);
    }
}
