// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Tests.Model;

/// <summary>How far two sets of logits lie apart.</summary>
/// <param name="MaxDifferenceOverMaxLogit">Of all values.</param>
/// <param name="MeanCosine">Of the rows.</param>
/// <param name="MedianCosine">Of the rows: nearly half of them may be anything.</param>
/// <param name="MinCosine">Of the rows.</param>
/// <param name="Parted">Share of the rows that say something else, as those do for which a router has chosen another expert.</param>
/// <param name="LateParted">The same of the rows behind the first page of the cache; 0 where there are none.</param>
internal sealed record Agreement(double MaxDifferenceOverMaxLogit, double MeanCosine, double MedianCosine, double MinCosine, double Parted, double LateParted)
{
    /// <summary>A row whose cosine is less says something else.</summary>
    private const double LeastCosine = 0.9;

    /// <param name="expected">(positions, vocabulary).</param>
    /// <param name="actual">(positions, vocabulary); all are finite.</param>
    /// <param name="vocabulary">Width of a row.</param>
    public static Agreement Of(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, int vocabulary)
    {
        Assert.That(actual.Length, Is.EqualTo(expected.Length));
        double difference = 0;
        double largest = 0;
        var cosines = new double[expected.Length / vocabulary];
        for (int row = 0; row < cosines.Length; row++)
        {
            ReadOnlySpan<float> e = expected.Slice(row * vocabulary, vocabulary);
            ReadOnlySpan<float> a = actual.Slice(row * vocabulary, vocabulary);
            double dot = 0, ee = 0, aa = 0;
            for (int i = 0; i < vocabulary; i++)
            {
                if (!float.IsFinite(a[i]))
                {
                    Assert.Fail($"Value {i} of row {row} is {a[i]}; expected {e[i]}.");
                }

                difference = Math.Max(difference, Math.Abs((double)e[i] - a[i]));
                largest = Math.Max(largest, Math.Abs(e[i]));
                dot += (double)e[i] * a[i];
                ee += (double)e[i] * e[i];
                aa += (double)a[i] * a[i];
            }

            cosines[row] = dot / Math.Sqrt(ee * aa);
        }

        double[] sorted = [.. cosines.Order()];
        return new Agreement(difference / largest, sorted.Average(), sorted[sorted.Length / 2], sorted[0], PartedOf(cosines), PartedOf(cosines.AsSpan(Math.Min(KvPage.Tokens, cosines.Length))));
    }

    private static double PartedOf(ReadOnlySpan<double> cosines)
    {
        int parted = 0;
        foreach (double cosine in cosines)
        {
            parted += cosine >= LeastCosine ? 0 : 1;
        }

        return (double)parted / Math.Max(1, cosines.Length);
    }
}
