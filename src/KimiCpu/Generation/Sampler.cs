// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Generation;

/// <summary>
/// Chooses the tokens of one answer from logits, by the options' order: logit bias, penalties, constraint, temperature,
/// top-k, top-p, min-p. It keeps the answer's history and its own random numbers, so an answer never depends on other calls.
/// </summary>
internal sealed class Sampler
{
    private readonly GenerationOptions _options;
    private readonly AnswerConstraint? _constraint;
    private readonly RandomSource _random;
    private readonly HashSet<int> _prompt;
    private readonly Dictionary<int, int> _counts = [];
    private float[] _probabilities = [];
    private Candidate[] _candidates = [];

    /// <param name="options">Checked by <see cref="OptionChecks"/>.</param>
    /// <param name="prompt">For the repetition penalty.</param>
    /// <param name="constraint">Which tokens can come next; null for all.</param>
    public Sampler(GenerationOptions options, ReadOnlySpan<int> prompt, AnswerConstraint? constraint = null)
    {
        _options = options;
        _constraint = constraint;
        _random = new RandomSource(options.Seed ?? (ulong)Random.Shared.NextInt64());
        _prompt = options.RepetitionPenalty != 1 ? [.. prompt.ToArray()] : [];
    }

    /// <summary>Chooses a token and remembers it.</summary>
    /// <param name="logits">Of all tokens that can be answered, finite; overwritten.</param>
    /// <exception cref="ArgumentException">The options leave none.</exception>
    public int Sample(Span<float> logits)
    {
        ApplyBias(logits);
        ApplyPenalties(logits);
        _constraint?.Mask(logits);
        int token = _options.Temperature == 0 ? Best(logits) : Draw(logits);
        if (float.IsNegativeInfinity(logits[token]))
        {
            throw CallArgument.Options("No token is left to sample: LogitBias forbids all that could come next. Forbid fewer tokens, or loosen the constraint.");
        }

        return Take(token);
    }

    /// <summary>Remembers a token, also one that was not chosen by the logits.</summary>
    public int Take(int token)
    {
        _counts[token] = _counts.GetValueOrDefault(token) + 1;
        _constraint?.Advance(token);
        return token;
    }

    private void ApplyBias(Span<float> logits)
    {
        if (_options.LogitBias is { } bias)
        {
            foreach ((int token, float value) in bias)
            {
                logits[token] += value;
            }
        }
    }

    private void ApplyPenalties(Span<float> logits)
    {
        if (_options.RepetitionPenalty != 1)
        {
            foreach (int token in _prompt)
            {
                // A prompt of ids may have some that no answer has.
                if (token < logits.Length)
                {
                    Repeat(ref logits[token]);
                }
            }

            foreach (int token in _counts.Keys)
            {
                if (!_prompt.Contains(token))
                {
                    Repeat(ref logits[token]);
                }
            }
        }

        if (_options.PresencePenalty != 0 || _options.FrequencyPenalty != 0)
        {
            foreach ((int token, int count) in _counts)
            {
                logits[token] -= _options.PresencePenalty + (_options.FrequencyPenalty * count);
            }
        }
    }

    /// <summary>A penalty below 1 must not make an infinity of a large bias.</summary>
    private void Repeat(ref float logit) => logit = logit > 0 ? Math.Min(logit / _options.RepetitionPenalty, float.MaxValue) : logit * _options.RepetitionPenalty;

    /// <summary>The lowest id of the largest.</summary>
    private static int Best(ReadOnlySpan<float> logits)
    {
        float max = RowMath.Max(CpuFeatures.Best, logits);
        int token = 0;
        while (logits[token] != max && token < logits.Length - 1)
        {
            token++;
        }

        return token;
    }

    private int Draw(Span<float> logits)
    {
        if (_probabilities.Length < logits.Length)
        {
            _probabilities = new float[logits.Length];
        }

        // Relative to the most likely token: e^((logit - max) / T), at most 1, so nothing overflows.
        Span<float> relative = _probabilities.AsSpan(0, logits.Length);
        float max = RowMath.Max(CpuFeatures.Best, logits);
        if (float.IsNegativeInfinity(max))
        {
            return 0;
        }

        RowMath.Exponentials(CpuFeatures.Best, logits, max, _options.Temperature, relative);
        bool all = _options.TopK is null or 0 && _options.TopP == 1 && _options.MinP == 0;
        return all ? DrawFromAll(relative) : DrawFromCandidates(relative);
    }

    private int DrawFromAll(ReadOnlySpan<float> relative)
    {
        double sum = 0;
        foreach (float p in relative)
        {
            sum += p;
        }

        double left = _random.NextDouble() * sum;
        int last = 0;
        for (int token = 0; token < relative.Length; token++)
        {
            if (relative[token] > 0)
            {
                last = token;
                left -= relative[token];
                if (left < 0)
                {
                    break;
                }
            }
        }

        return last;
    }

    private int DrawFromCandidates(ReadOnlySpan<float> relative)
    {
        Span<Candidate> kept = Candidates(relative);
        if (_options.TopP < 1)
        {
            kept = kept[..CountForTopP(kept)];
        }

        double sum = 0;
        int count = 0;
        while (count < kept.Length && kept[count].Probability >= _options.MinP)
        {
            sum += kept[count++].Probability;
        }

        double left = _random.NextDouble() * sum;
        for (int i = 0; i < count; i++)
        {
            left -= kept[i].Probability;
            if (left < 0)
            {
                return kept[i].Token;
            }
        }

        return kept[Math.Max(0, count - 1)].Token;
    }

    /// <summary>The tokens that can be drawn at all before top-p, best first; equal ones by rising id.</summary>
    private Span<Candidate> Candidates(ReadOnlySpan<float> relative)
    {
        int topK = LimitsTopK(relative.Length) ? _options.TopK!.Value : relative.Length;
        double total = 0;
        foreach (float p in relative)
        {
            total += p;
        }

        // Sorting a whole vocabulary costs more than all else here. A floor leaves few; it is lowered while it left out
        // any that count. Those below min-p do where top-p is a share of what top-k left.
        float least = _options.TopP < 1 && LimitsTopK(relative.Length) ? 0 : _options.MinP;
        for (float floor = Math.Max(least, 1e-4f); ; floor = floor > 1e-30f ? floor * 1e-3f : 0)
        {
            (int count, double sum, bool all) = Collect(relative, floor);
            bool enough = all || count >= topK || floor <= least || (_options.TopP < 1 && topK == relative.Length && sum >= _options.TopP * total);
            if (enough)
            {
                Span<Candidate> found = _candidates.AsSpan(0, count);
                found.Sort();
                return found[..Math.Min(topK, count)];
            }
        }
    }

    /// <summary>The tokens above a floor, and whether none below it can be drawn.</summary>
    private (int Count, double Sum, bool All) Collect(ReadOnlySpan<float> relative, float floor)
    {
        if (_candidates.Length < relative.Length)
        {
            _candidates = new Candidate[relative.Length];
        }

        int count = 0;
        double sum = 0;
        bool all = true;
        for (int token = 0; token < relative.Length; token++)
        {
            all &= relative[token] >= floor || relative[token] == 0;
            if (relative[token] >= floor && relative[token] > 0)
            {
                _candidates[count++] = new Candidate(relative[token], token);
                sum += relative[token];
            }
        }

        return (count, sum, all);
    }

    /// <summary>How many of the best reach the share <see cref="GenerationOptions.TopP"/> of what top-k left; at least one.</summary>
    private int CountForTopP(ReadOnlySpan<Candidate> sorted)
    {
        double total = 0;
        if (LimitsTopK(_probabilities.Length))
        {
            foreach (Candidate candidate in sorted)
            {
                total += candidate.Probability;
            }
        }
        else
        {
            foreach (float p in _probabilities)
            {
                total += p;
            }
        }

        double reached = 0;
        int count = 0;
        while (count < sorted.Length && (count == 0 || reached < _options.TopP * total))
        {
            reached += sorted[count++].Probability;
        }

        return count;
    }

    private bool LimitsTopK(int vocabulary) => _options.TopK is { } k && k > 0 && k < vocabulary;

    private readonly record struct Candidate(float Probability, int Token) : IComparable<Candidate>
    {
        public int CompareTo(Candidate other)
        {
            int order = other.Probability.CompareTo(Probability);
            return order != 0 ? order : Token.CompareTo(other.Token);
        }
    }
}
