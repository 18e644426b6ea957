// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Model;

/// <summary>What rounding costs a trained model, where it matters: what it expects next in texts of its own. Greedy answers show a loss only once it changes a word.</summary>
[TestFixture]
internal sealed class TrainedModelTests
{
    private const int Texts = 40;

    /// <summary>Divergences are in nats, about twice what they are.</summary>
    [TestCase(Backend.CpuFast, 0.004)]
    [TestCase(Backend.CpuInt8, 0.012)]
    [CancelAfter(300_000)]
    public void Fast_arithmetic_expects_next_what_exact_arithmetic_does(Backend backend, double mostDivergence, CancellationToken cancellationToken)
    {
        using var exact = new ModelUnderTest(Repository.NanoModel, Backend.CpuExact, threads: 2);
        using var fast = new ModelUnderTest(Repository.NanoModel, backend, threads: 2);
        double divergence = 0, difference = 0;
        int count = 0;
        foreach (int[] tokens in Load())
        {
            cancellationToken.ThrowIfCancellationRequested();
            (float[] expected, float[] actual) = (exact.Logits(tokens), fast.Logits(tokens));
            for (int i = 0; i < tokens.Length - 1; i++, count++)
            {
                double[] p = LogSoftmax(expected.AsSpan(i * exact.Vocabulary, exact.Vocabulary));
                double[] q = LogSoftmax(actual.AsSpan(i * exact.Vocabulary, exact.Vocabulary));
                divergence += p.Zip(q, (a, b) => Math.Exp(a) * (a - b)).Sum();
                difference += q[tokens[i + 1]] - p[tokens[i + 1]];
            }
        }

        Assert.That(divergence / count, Is.LessThanOrEqualTo(mostDivergence), "mean divergence of the distributions");
        Assert.That(difference / count, Is.EqualTo(0).Within(0.01), "mean change of the log-probability of the text's token");
    }

    private static IEnumerable<int[]> Load()
    {
        KimiTokenizer tokenizer = KimiTokenizer.Open(Repository.NanoModel);
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Repository.Fixture("kimi-nano-eval.json")));
        return [.. document.RootElement.GetProperty("prompts").EnumerateArray().Take(Texts).Select(p => tokenizer.Encode(p.GetProperty("output").GetString()!)).Where(t => t.Length > 1)];
    }

    private static double[] LogSoftmax(ReadOnlySpan<float> logits)
    {
        double[] values = [.. logits.ToArray().Select(l => (double)l)];
        double max = values.Max();
        double sum = Math.Log(values.Sum(v => Math.Exp(v - max)));
        return [.. values.Select(v => v - max - sum)];
    }
}
