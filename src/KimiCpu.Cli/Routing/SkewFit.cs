// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using MathNet.Numerics.Distributions;
using MathNet.Numerics.LinearAlgebra;
using MathNet.Numerics.LinearRegression;

namespace KimiCpu.Cli.Routing;

/// <summary>How unevenly a layer's experts are used: the exponent of Zipf's law, use in proportion to rank^-exponent.</summary>
/// <param name="Exponent">0 is flat.</param>
/// <param name="Confidence">Half of the 95 % interval of the exponent; NaN where there are too few points.</param>
internal sealed record SkewFit(double Exponent, double Confidence)
{
    private const int FewestPoints = 3;

    /// <summary>
    /// Fits a line to log(uses) over log(rank). Experts are ranked by one half of the tokens and their uses counted in the
    /// other, in turn, for chance alone would make a ranking of the same counts look skewed. Ranks that double from point to
    /// point share one, weighed by its uses, as is right for counts.
    /// </summary>
    /// <param name="accesses">The trace.</param>
    /// <param name="layer">Place among the MoE layers.</param>
    /// <returns>Null where the trace is too short.</returns>
    public static SkewFit? Of(TraceAccesses accesses, int layer)
    {
        int experts = accesses.Header.ExpertCount;
        var counts = new long[2, experts];
        for (int step = 0; step < accesses.Steps; step++)
        {
            foreach (int key in accesses.KeysOf(step, layer))
            {
                counts[step % 2, key - (layer * experts)]++;
            }
        }

        var points = new List<(double Rank, double Uses, double Weight)>();
        for (int first = 0; first < experts; first = (2 * first) + 1)
        {
            int end = Math.Min(experts, (2 * first) + 1);
            double uses = 0;
            double rank = 0;
            for (int half = 0; half < 2; half++)
            {
                int[] order = [.. Enumerable.Range(0, experts).OrderByDescending(e => counts[half, e])];
                uses += order[first..end].Sum(e => counts[1 - half, e]);
            }

            for (int r = first; r < end; r++)
            {
                rank += Math.Log(r + 1);
            }

            if (uses > 0)
            {
                points.Add((rank / (end - first), Math.Log(uses / (end - first)), uses));
            }
        }

        return points.Count >= FewestPoints ? Fit(points) : null;
    }

    private static SkewFit Fit(List<(double Rank, double Uses, double Weight)> points)
    {
        Matrix<double> x = Matrix<double>.Build.Dense(points.Count, 2, (i, j) => j == 0 ? 1 : points[i].Rank);
        Vector<double> y = Vector<double>.Build.Dense(points.Count, i => points[i].Uses);
        Matrix<double> weights = Matrix<double>.Build.DiagonalOfDiagonalArray([.. points.Select(p => p.Weight)]);
        Vector<double> line = WeightedRegression.Weighted(x, y, weights);
        Vector<double> residual = y - (x * line);
        int freedom = points.Count - 2;
        double variance = residual * weights * residual / freedom;
        double error = Math.Sqrt(variance * (x.TransposeThisAndMultiply(weights) * x).Inverse()[1, 1]);
        return new SkewFit(-line[1], StudentT.InvCDF(0, 1, freedom, 0.975) * error);
    }
}
