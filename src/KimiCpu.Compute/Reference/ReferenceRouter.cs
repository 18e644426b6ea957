// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute.Reference;

/// <summary>
/// The sigmoid router of DeepSeek-V3 (arXiv:2412.19437, section 2.1.2) with <c>noaux_tc</c> selection: the correction
/// bias chooses, the unbiased score weighs. With several groups, the losing groups are out of the choice. A NaN anywhere
/// makes all weights NaN.
/// </summary>
internal static class ReferenceRouter
{
    /// <summary>Chooses experts for one token.</summary>
    /// <param name="shape">Experts, groups and scaling.</param>
    /// <param name="logits">(experts) router outputs.</param>
    /// <param name="correctionBias">(experts).</param>
    /// <param name="experts">(experts per token) receives ids by falling score + bias; equal ones by rising id.</param>
    /// <param name="weights">(experts per token) receives the factors of their outputs.</param>
    /// <returns>Distance in score + bias from the last chosen to the first rejected expert; NaN where one of them is.</returns>
    public static double Route(ModelShape shape, ReadOnlySpan<float> logits, ReadOnlySpan<float> correctionBias, Span<int> experts, Span<float> weights)
    {
        int count = shape.ExpertCount;
        var scores = new double[count];
        var choice = new double[count];
        for (int e = 0; e < count; e++)
        {
            scores[e] = ReferenceOps.Sigmoid(logits[e]);
            choice[e] = scores[e] + correctionBias[e];
        }

        if (choice.Any(double.IsNaN))
        {
            for (int k = 0; k < experts.Length; k++)
            {
                (experts[k], weights[k]) = (k, float.NaN);
            }

            return double.NaN;
        }

        if (shape.ExpertGroupCount > 1)
        {
            RejectLosingGroups(shape, choice);
        }

        int[] order = [.. Enumerable.Range(0, count).OrderByDescending(e => choice[e])];
        double sum = 0;
        for (int k = 0; k < experts.Length; k++)
        {
            experts[k] = order[k];
            sum += scores[order[k]];
        }

        bool normalize = shape.NormalizeExpertWeights && experts.Length > 1;
        for (int k = 0; k < experts.Length; k++)
        {
            weights[k] = (float)(scores[order[k]] / (normalize ? sum + 1e-20 : 1) * shape.RoutedScalingFactor);
        }

        return count > experts.Length ? choice[order[experts.Length - 1]] - choice[order[experts.Length]] : double.PositiveInfinity;
    }

    private static void RejectLosingGroups(ModelShape shape, double[] choice)
    {
        int size = choice.Length / shape.ExpertGroupCount;
        double TwoBest(int group) => choice.Skip(group * size).Take(size).OrderDescending().Take(2).Sum();
        int[] losers = [.. Enumerable.Range(0, shape.ExpertGroupCount).OrderByDescending(TwoBest).Skip(shape.ExpertGroupsPerToken)];
        foreach (int group in losers)
        {
            choice.AsSpan(group * size, size).Fill(double.NegativeInfinity);
        }
    }
}
