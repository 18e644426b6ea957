// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Generation;
using KimiCpu.Tokens;

namespace KimiCpu.Cli.Commands;

/// <summary>The options that shape an answer, and their translation.</summary>
internal sealed class SamplingOptions
{
    private readonly Option<int?> _tokens = new("--tokens", "-n") { Description = "Most tokens of the answer, at least 1. Default: as many as the context holds.", HelpName = "N" };
    private readonly Option<float> _temperature = new("--temperature") { Description = "0 (greedy) … 100.", DefaultValueFactory = _ => 0.6f, HelpName = "T" };
    private readonly Option<int?> _topK = new("--top-k") { Description = "Only the N most likely tokens; 0 for all. Default: all.", HelpName = "N" };
    private readonly Option<float> _topP = new("--top-p") { Description = "Only the most likely tokens that reach this probability, above 0, at most 1.", DefaultValueFactory = _ => 1, HelpName = "P" };
    private readonly Option<float> _minP = new("--min-p") { Description = "Only tokens at least so likely relative to the best, 0 … below 1.", HelpName = "P" };
    private readonly Option<float> _repetition = new("--repetition-penalty") { Description = "Above 0, at most 10; 1 is off.", DefaultValueFactory = _ => 1, HelpName = "X" };
    private readonly Option<float> _presence = new("--presence-penalty") { Description = "-2 … 2; 0 is off.", HelpName = "X" };
    private readonly Option<float> _frequency = new("--frequency-penalty") { Description = "-2 … 2; 0 is off.", HelpName = "X" };
    private readonly Option<string[]> _bias = new("--logit-bias") { Description = "Added to a token's logit, as ID=VALUE; -inf forbids it. May be given several times.", HelpName = "ID=V" };
    private readonly Option<ulong?> _seed = new("--seed") { Description = "Same seed, same text. Default: random.", HelpName = "N" };
    private readonly Option<string[]> _stop = new("--stop") { Description = "Text that ends the answer. May be given several times.", HelpName = "TEXT" };
    private readonly Option<int[]> _stopTokens = new("--stop-token") { Description = "Token id that ends the answer. May be given several times.", HelpName = "ID" };
    private readonly Option<bool> _ignoreEnd = new("--ignore-eos") { Description = "Go on past end-of-text tokens." };
    private readonly Option<bool> _noThink = new("--no-think") { Description = "Answer without reasoning, where the template can say so." };
    private readonly Option<int?> _reasoning = new("--max-reasoning-tokens") { Description = "Most tokens of reasoning, 0 or more; then it is closed and the answer begins. Default: no limit.", HelpName = "N" };
    private readonly Option<bool> _preserve = new("--preserve-thinking") { Description = "Show the model its reasoning of earlier turns, where the template can." };
    private readonly Option<int?> _logProbabilities = new("--logprobs") { Description = "With --json: log-probabilities of each token and of the N most likely ones, 0 … 20.", HelpName = "N" };

    /// <summary>Adds all of them but <c>--logprobs</c>, which only some commands can show.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in new Option[]
        {
            _tokens, _temperature, _topK, _topP, _minP, _repetition, _presence, _frequency, _bias, _seed, _stop, _stopTokens, _ignoreEnd, _noThink, _reasoning, _preserve,
        })
        {
            command.Add(option);
        }
    }

    public void AddLogProbabilitiesTo(Command command) => command.Add(_logProbabilities);

    /// <summary>Whether an option is given that only answers with reasoning heed.</summary>
    public bool ShapesReasoning(ParseResult parsed) => parsed.GetValue(_noThink) || parsed.GetValue(_reasoning) is not null || parsed.GetValue(_preserve);

    /// <summary>Whether reasoning is both switched off and limited, of which one does nothing unless reasoning can be switched on again.</summary>
    public bool LimitsNoReasoning(ParseResult parsed) => parsed.GetValue(_noThink) && parsed.GetValue(_reasoning) is not null;

    /// <exception cref="FormatException">A bias is not of the form ID=VALUE.</exception>
    public GenerationOptions Read(ParseResult parsed) => new()
    {
        MaxTokens = parsed.GetValue(_tokens),
        Temperature = parsed.GetValue(_temperature),
        TopK = parsed.GetValue(_topK),
        TopP = parsed.GetValue(_topP),
        MinP = parsed.GetValue(_minP),
        RepetitionPenalty = parsed.GetValue(_repetition),
        PresencePenalty = parsed.GetValue(_presence),
        FrequencyPenalty = parsed.GetValue(_frequency),
        LogitBias = (parsed.GetValue(_bias) ?? []).Select(ReadBias).GroupBy(b => b.Token).ToDictionary(g => g.Key, g => g.Last().Bias),
        Seed = parsed.GetValue(_seed),
        StopSequences = parsed.GetValue(_stop) ?? [],
        StopTokens = parsed.GetValue(_stopTokens) ?? [],
        IgnoreEndOfText = parsed.GetValue(_ignoreEnd),
        Thinking = !parsed.GetValue(_noThink),
        MaxReasoningTokens = parsed.GetValue(_reasoning),
        PreserveThinking = parsed.GetValue(_preserve),
        LogProbabilities = parsed.GetValue(_logProbabilities) is not null,
        TopLogProbabilities = parsed.GetValue(_logProbabilities) ?? 0,
    };

    /// <summary>What can be known of options before there is a model, whose opening may take an hour.</summary>
    /// <exception cref="ArgumentException">A value is outside its range, or options exclude each other.</exception>
    public static void Check(GenerationOptions options) => OptionChecks.Validate(options, int.MaxValue);

    /// <summary>The same of the tokens that they name, for which the tokenizer has to be read.</summary>
    /// <exception cref="ArgumentException">It has no such token.</exception>
    public static void CheckTokens(GenerationOptions options, CheckpointFiles files)
    {
        if (options.StopTokens.Count + (options.LogitBias?.Count ?? 0) > 0)
        {
            OptionChecks.Validate(options, KimiTokenizer.Open(files).VocabularySize);
        }
    }

    private static (int Token, float Bias) ReadBias(string text)
    {
        string[] parts = text.Split('=');
        bool valid = parts.Length == 2 & int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int token);
        float bias = 0;
        valid = valid && (parts[1] == "-inf" || float.TryParse(parts[1], NumberStyles.Float, CultureInfo.InvariantCulture, out bias));
        return valid ? (token, parts[1] == "-inf" ? float.NegativeInfinity : bias) : throw new FormatException($"--logit-bias takes ID=VALUE, such as 42=-1.5 or 42=-inf; found '{text}'.");
    }
}
