// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using MathNet.Numerics.Distributions;

namespace KimiCpu.Tests.Generation;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SamplerTests
{
    private static readonly float[] s_logits = [1.5f, 0.2f, -0.7f, 3.1f, 2.2f, -4f, 0f, 1.4f];

    [Test]
    public void Greedy_takes_the_best_and_the_lowest_id_of_equals()
    {
        var sampler = new Sampler(new GenerationOptions { Temperature = 0 }, []);
        Assert.That(sampler.Sample([1, 3, 3, 2]), Is.EqualTo(1));
    }

    [TestCase(1f, null, 1f, 0f)]
    [TestCase(0.5f, null, 1f, 0f)]
    [TestCase(2f, 3, 1f, 0f)]
    [TestCase(1f, null, 0.8f, 0f)]
    [TestCase(1.5f, 5, 0.7f, 0f)]
    [TestCase(1f, null, 1f, 0.1f)]
    [TestCase(1f, 6, 0.95f, 0.2f)]
    [TestCase(1f, 6, 0.7f, 0.5f)]
    [TestCase(1f, 7, 0.8f, 0.3f)]
    public void Draws_follow_the_filtered_distribution(float temperature, int? topK, float topP, float minP)
    {
        const int Draws = 20_000;
        var options = new GenerationOptions { Temperature = temperature, TopK = topK, TopP = topP, MinP = minP, Seed = 5 };
        double[] expected = Expected(s_logits, options);
        var sampler = new Sampler(options, []);
        var counts = new int[s_logits.Length];
        for (int i = 0; i < Draws; i++)
        {
            counts[sampler.Sample([.. s_logits])]++;
        }

        double chiSquare = 0;
        int kinds = 0;
        for (int i = 0; i < counts.Length; i++)
        {
            if (expected[i] == 0)
            {
                Assert.That(counts[i], Is.Zero, $"token {i} is filtered out");
            }
            else
            {
                chiSquare += Math.Pow(counts[i] - (expected[i] * Draws), 2) / (expected[i] * Draws);
                kinds++;
            }
        }

        Assert.That(kinds, Is.GreaterThan(0));
        if (kinds > 1)
        {
            Assert.That(chiSquare, Is.LessThan(ChiSquared.InvCDF(kinds - 1, 0.9999)));
        }
    }

    [Test]
    public void Equal_seeds_give_equal_tokens_and_others_do_not()
    {
        int[] Draw(ulong seed)
        {
            var sampler = new Sampler(new GenerationOptions { Temperature = 2, Seed = seed }, []);
            return [.. Enumerable.Range(0, 50).Select(_ => sampler.Sample([.. s_logits]))];
        }

        int[] first = Draw(1);
        Assert.That(Draw(1), Is.EqualTo(first));
        Assert.That(Draw(2), Is.Not.EqualTo(first));
    }

    /// <summary>Fixed forever: an answer with a seed must not change with a release.</summary>
    [Test]
    public void The_random_numbers_are_those_of_xoshiro256()
    {
        var random = new RandomSource(42);
        Assert.That(Enumerable.Range(0, 3).Select(_ => random.NextDouble()), Is.EqualTo(new[] { 0.08386297105988216, 0.3789802506626686, 0.6800434110281394 }).Within(1e-15));
    }

    [Test]
    public void Bias_forbids_and_forces()
    {
        var forbid = new Sampler(new GenerationOptions { Temperature = 1, Seed = 1, LogitBias = new Dictionary<int, float> { [3] = float.NegativeInfinity } }, []);
        Assert.That(Enumerable.Range(0, 500).Select(_ => forbid.Sample([.. s_logits])), Has.None.EqualTo(3));
        var force = new Sampler(new GenerationOptions { Temperature = 1, LogitBias = new Dictionary<int, float> { [5] = 1000 } }, []);
        Assert.That(force.Sample([.. s_logits]), Is.EqualTo(5));
    }

    /// <summary>Top-p is a share of what top-k left, not of what min-p leaves of that.</summary>
    [Test]
    public void Min_p_takes_nothing_from_what_top_p_is_a_share_of()
    {
        float[] logits = [.. new[] { 1, 0.1f }.Concat(Enumerable.Repeat(0.09f, 8)).Select(p => MathF.Log(p))];
        var sampler = new Sampler(new GenerationOptions { Temperature = 1, TopK = 10, TopP = 0.6f, MinP = 0.095f, Seed = 1 }, []);
        int second = Enumerable.Range(0, 2000).Count(_ => sampler.Sample([.. logits]) == 1);
        Assert.That(second / 2000.0, Is.EqualTo(0.1 / 1.1).Within(0.03));
    }

    [Test]
    public void The_largest_bias_stays_finite_under_penalties()
    {
        var options = new GenerationOptions { Temperature = 1, RepetitionPenalty = 0.5f, LogitBias = new Dictionary<int, float> { [2] = float.MaxValue } };
        Assert.That(new Sampler(options, [2]).Sample([.. s_logits]), Is.EqualTo(2));
        Assert.That(new Sampler(options with { Temperature = 0 }, [2]).Sample([.. s_logits]), Is.EqualTo(2));
    }

    [Test]
    public void Repetition_penalty_counts_prompt_and_answer_once()
    {
        var sampler = new Sampler(new GenerationOptions { Temperature = 0, RepetitionPenalty = 2 }, [0, 0, 2]);
        float[] logits = [3, 1, -1, 2];
        Assert.That(sampler.Sample(logits), Is.EqualTo(3));
        Assert.That(logits, Is.EqualTo(new float[] { 1.5f, 1, -2, 2 }));
        float[] next = [3, 1, -1, 2];
        sampler.Sample(next);
        Assert.That(next, Is.EqualTo(new float[] { 1.5f, 1, -2, 1 }));
    }

    [Test]
    public void Presence_and_frequency_penalties_count_the_answer_only()
    {
        var sampler = new Sampler(new GenerationOptions { Temperature = 0, PresencePenalty = 0.5f, FrequencyPenalty = 0.25f }, [0, 1]);
        float[][] steps = [[0, 0, 5, 0], [0, 0, 5, 0], [0, 0, 5, 0]];
        Array.ForEach(steps, s => sampler.Sample(s));
        Assert.That(steps.Select(s => s[2]), Is.EqualTo(new[] { 5f, 4.25f, 4f }));
        Assert.That(steps[2][0], Is.Zero);
    }

    [Test]
    public void Top_p_keeps_at_least_one_token_and_huge_logits_do_not_overflow()
    {
        var sampler = new Sampler(new GenerationOptions { Temperature = 0.01f, TopP = 1e-6f, Seed = 1 }, []);
        Assert.That(sampler.Sample([1e30f, -1e30f, 0]), Is.Zero);
        var all = new Sampler(new GenerationOptions { Temperature = 1, Seed = 1 }, []);
        Assert.That(all.Sample([1000, 1000, -1000]), Is.InRange(0, 1));
    }

    /// <summary>None of what counts is below the floor of the first collection.</summary>
    [Test]
    public void Flat_and_steep_distributions_keep_what_they_must()
    {
        float[] flat = new float[5000];
        var sampler = new Sampler(new GenerationOptions { Temperature = 1, TopP = 0.5f, Seed = 3 }, []);
        int[] drawn = [.. Enumerable.Range(0, 3000).Select(_ => sampler.Sample([.. flat]))];
        Assert.That(drawn, Is.All.LessThan(2500), "the first half by id, as all are equal");
        Assert.That(drawn.Distinct().Count(), Is.GreaterThan(1200));

        float[] steep = [.. Enumerable.Range(0, 200).Select(i => -2f * i)];
        var topK = new Sampler(new GenerationOptions { Temperature = 100, TopK = 150, Seed = 3 }, []);
        int[] wide = [.. Enumerable.Range(0, 3000).Select(_ => topK.Sample([.. steep]))];
        Assert.That(wide.Max(), Is.InRange(120, 149));
    }

    /// <summary>Each token of the tail is less likely than the floor of the first collection; all of them together are as likely as the best one.</summary>
    [TestCase(null, 0.9f, 0f, 1 / 1.8, 16_001)]
    [TestCase(10_001, 1f, 0f, 1 / 1.5, 10_000)]
    [TestCase(null, 0.9f, 1e-6f, 1 / 1.8, 16_001)]
    [TestCase(null, 1f, 1e-6f, 1 / 2.0, 20_000)]
    public void Tails_below_the_first_floor_count(int? topK, float topP, float minP, double best, int last)
    {
        const int Draws = 500;
        float[] logits = [0, .. Enumerable.Repeat(MathF.Log(5e-5f), 20_000)];
        var sampler = new Sampler(new GenerationOptions { Temperature = 1, TopK = topK, TopP = topP, MinP = minP, Seed = 3 }, []);
        int[] drawn = [.. Enumerable.Range(0, Draws).Select(_ => sampler.Sample([.. logits]))];
        Assert.That(drawn.Count(0) / (double)Draws, Is.EqualTo(best).Within(0.07));
        Assert.That(drawn.Max(), Is.InRange(last * 0.85, last), "equal ones by rising id");
    }

    /// <summary>Against an oracle that sorts the whole vocabulary and has the same random numbers.</summary>
    [Test]
    public void Draws_from_any_vocabulary_are_those_from_a_sorted_one([Range(1, 60)] int seed)
    {
        const int Draws = 40;
        var random = new Random(seed);
        double sigma = 1 + (random.NextDouble() * 29);
        float[] logits = [.. Enumerable.Range(0, 1500).Select(_ => (float)Normal.Sample(random, 0, sigma))];
        var options = new GenerationOptions
        {
            Temperature = 0.3f + (random.NextSingle() * 3),
            TopK = random.Next(3) == 0 ? null : random.Next(1, logits.Length),
            TopP = random.Next(3) == 0 ? 1 : 1 - (random.NextSingle() * random.NextSingle()),
            MinP = random.Next(2) == 0 ? 0 : MathF.Pow(10, -1 - (7 * random.NextSingle())),
            Seed = (ulong)seed,
        };
        double[] expected = Expected(logits, options);
        int[] order = [.. Enumerable.Range(0, logits.Length).OrderByDescending(i => logits[i]).ThenBy(i => i)];
        var places = new double[logits.Length];
        double before = 0;

        // Without a filter nothing is sorted.
        bool sorts = options.TopK is not null || options.TopP < 1 || options.MinP > 0;
        foreach (int token in sorts ? order : [.. order.Order()])
        {
            places[token] = before;
            before += expected[token];
        }

        var sampler = new Sampler(options, []);
        var numbers = new RandomSource((ulong)seed);
        for (int draw = 0; draw < Draws; draw++)
        {
            int token = sampler.Sample([.. logits]);
            double number = numbers.NextDouble();
            Assert.That(expected[token], Is.Positive, $"token {token} of {options} is filtered out");
            Assert.That(number, Is.InRange(places[token] - 1e-5, places[token] + expected[token] + 1e-5), $"token {token} of {options}");
        }
    }

    [Test]
    public void Log_probabilities_are_those_of_the_softmax()
    {
        double logSumExp = LogProbabilities.LogSumExp(s_logits);
        Assert.That(s_logits.Sum(l => Math.Exp(l - logSumExp)), Is.EqualTo(1).Within(1e-12));
        (int Token, float LogProbability)[] top = LogProbabilities.Top([1, 3, 3, 2], LogProbabilities.LogSumExp([1, 3, 3, 2]), 3);
        Assert.That(top.Select(t => t.Token), Is.EqualTo(new[] { 1, 2, 3 }));
        Assert.That(LogProbabilities.Top([1, 2], 0, 0), Is.Empty);
        Assert.That(LogProbabilities.Top([1, 2], 0, 5), Has.Length.EqualTo(2));
    }

    [TestCase(1)]
    [TestCase(5)]
    [TestCase(20)]
    public void The_most_likely_tokens_are_those_of_a_sorted_vocabulary(int count)
    {
        var random = new Random(count);
        for (int round = 0; round < 20; round++)
        {
            // Many are equal.
            float[] logits = [.. Enumerable.Range(0, 1000).Select(_ => (float)random.Next(-40, 40))];
            int[] expected = [.. Enumerable.Range(0, logits.Length).OrderByDescending(t => logits[t]).ThenBy(t => t).Take(count)];
            Assert.That(LogProbabilities.Top(logits, 0, count).Select(t => t.Token), Is.EqualTo(expected));
        }
    }

    private static double[] Expected(float[] logits, GenerationOptions options)
    {
        double max = logits.Max();
        double[] p = [.. logits.Select(l => Math.Exp((l - max) / options.Temperature))];
        int[] order = [.. Enumerable.Range(0, p.Length).OrderByDescending(i => p[i])];
        List<int> kept = [.. order.Take(options.TopK ?? p.Length)];
        double total = kept.Sum(i => p[i]);
        double reached = 0;
        kept = [.. kept.TakeWhile(i => { bool take = reached < options.TopP * total; reached += p[i]; return take; })];
        kept = [.. kept.Where(i => p[i] >= options.MinP)];
        double sum = kept.Sum(i => p[i]);
        var shares = new double[p.Length];
        kept.ForEach(i => shares[i] = p[i] / sum);
        return shares;
    }
}
