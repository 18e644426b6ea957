// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Model;

/// <summary>How far two sets of logits lie apart.</summary>
internal sealed record Agreement(double MaxDifferenceOverMaxLogit, double MeanCosine, double MedianCosine, double MinCosine, double MeanDivergence)
{
    /// <param name="expected">(positions, vocabulary).</param>
    /// <param name="actual">(positions, vocabulary).</param>
    /// <param name="vocabulary">Width of a row.</param>
    public static Agreement Of(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, int vocabulary)
    {
        Assert.That(actual.Length, Is.EqualTo(expected.Length));
        double difference = 0;
        double largest = 0;
        var cosines = new List<double>();
        double divergence = 0;
        for (int start = 0; start < expected.Length; start += vocabulary)
        {
            ReadOnlySpan<float> e = expected.Slice(start, vocabulary);
            ReadOnlySpan<float> a = actual.Slice(start, vocabulary);
            double dot = 0, ee = 0, aa = 0;
            for (int i = 0; i < vocabulary; i++)
            {
                // Not Math.Max alone: it must not lose a NaN.
                double d = Math.Abs((double)e[i] - a[i]);
                difference = double.IsNaN(d) ? double.PositiveInfinity : Math.Max(difference, d);
                largest = Math.Max(largest, Math.Abs(e[i]));
                dot += (double)e[i] * a[i];
                ee += (double)e[i] * e[i];
                aa += (double)a[i] * a[i];
            }

            cosines.Add(dot / Math.Sqrt(ee * aa));
            divergence += Divergence(e, a);
        }

        cosines.Sort();
        return new Agreement(difference / largest, cosines.Average(), cosines[cosines.Count / 2], cosines[0], divergence / cosines.Count);
    }

    /// <summary>KL(expected || actual) of the two softmax distributions, in nats.</summary>
    private static double Divergence(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual)
    {
        double[] p = LogSoftmax(expected);
        double[] q = LogSoftmax(actual);
        double sum = 0;
        for (int i = 0; i < p.Length; i++)
        {
            sum += Math.Exp(p[i]) * (p[i] - q[i]);
        }

        return sum;
    }

    private static double[] LogSoftmax(ReadOnlySpan<float> logits)
    {
        double max = double.NegativeInfinity;
        foreach (float logit in logits)
        {
            max = Math.Max(max, logit);
        }

        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - max);
        }

        var result = new double[logits.Length];
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = logits[i] - max - Math.Log(sum);
        }

        return result;
    }
}
