// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// The sigmoid router of DeepSeek-V3 (arXiv:2412.19437, section 2.1.2) with <c>noaux_tc</c> selection, in single
/// precision: the correction bias chooses, the unbiased score weighs. A NaN anywhere makes all weights NaN, so that it
/// reaches the result. One instance a thread; it keeps scratch memory.
/// </summary>
internal sealed class Router
{
    private readonly ModelShape _shape;
    private readonly float[] _scores;
    private readonly float[] _choice;
    private readonly float[] _groupScores;
    private readonly bool[] _groupChosen;

    public Router(ModelShape shape)
    {
        _shape = shape;
        _scores = new float[shape.ExpertCount];
        _choice = new float[shape.ExpertCount];
        _groupScores = new float[shape.ExpertGroupCount];
        _groupChosen = new bool[shape.ExpertGroupCount];
    }

    /// <summary>Chooses experts for one token.</summary>
    /// <param name="logits">(experts) router outputs.</param>
    /// <param name="correctionBias">(experts), no infinite ones where experts have groups.</param>
    /// <param name="experts">(experts per token) receives ids by falling score + bias; equal ones by rising id.</param>
    /// <param name="weights">(experts per token) receives the factors of their outputs.</param>
    public void Route(ReadOnlySpan<float> logits, ReadOnlySpan<float> correctionBias, Span<int> experts, Span<float> weights)
    {
        bool numbers = true;
        for (int e = 0; e < _scores.Length; e++)
        {
            _scores[e] = Sigmoid(logits[e]);
            _choice[e] = _scores[e] + correctionBias[e];
            numbers &= !float.IsNaN(_choice[e]);
        }

        if (!numbers)
        {
            PassOnNaN(experts, weights);
            return;
        }

        if (_shape.ExpertGroupCount > 1)
        {
            RejectLosingGroups();
        }

        float sum = 0;
        for (int k = 0; k < experts.Length; k++)
        {
            int best = Largest(_choice);
            experts[k] = best;
            weights[k] = _scores[best];
            sum += _scores[best];

            // A mark that no choice bears by now.
            _choice[best] = float.NaN;
        }

        float factor = _shape.NormalizeExpertWeights && experts.Length > 1 ? _shape.RoutedScalingFactor / (sum + 1e-20f) : _shape.RoutedScalingFactor;
        for (int k = 0; k < weights.Length; k++)
        {
            weights[k] *= factor;
        }
    }

    /// <summary>Any experts do, as long as their ids are valid and different.</summary>
    private static void PassOnNaN(Span<int> experts, Span<float> weights)
    {
        for (int k = 0; k < experts.Length; k++)
        {
            experts[k] = k;
        }

        weights.Fill(float.NaN);
    }

    /// <summary>The first of the largest values that are numbers.</summary>
    private static int Largest(ReadOnlySpan<float> values)
    {
        int best = 0;
        float most = float.NaN;
        for (int i = 0; i < values.Length; i++)
        {
            if (values[i] > most || (float.IsNaN(most) && !float.IsNaN(values[i])))
            {
                most = values[i];
                best = i;
            }
        }

        return best;
    }

    /// <summary>1 / (1 + e^-x) without overflow.</summary>
    private static float Sigmoid(float x)
    {
        float e = MathF.Exp(-MathF.Abs(x));
        return x >= 0 ? 1 / (1 + e) : e / (1 + e);
    }

    /// <summary>A group's score is the sum of its two best choices; experts of the losing groups cannot be chosen.</summary>
    private void RejectLosingGroups()
    {
        int size = _choice.Length / _groupScores.Length;
        for (int group = 0; group < _groupScores.Length; group++)
        {
            float first = float.NegativeInfinity;
            float second = float.NegativeInfinity;
            foreach (float value in _choice.AsSpan(group * size, size))
            {
                (first, second) = value > first ? (value, first) : (first, Math.Max(second, value));
            }

            _groupScores[group] = size > 1 ? first + second : first;
        }

        Array.Clear(_groupChosen);
        for (int kept = 0; kept < _shape.ExpertGroupsPerToken; kept++)
        {
            int best = Largest(_groupScores);
            _groupChosen[best] = true;
            _groupScores[best] = float.NaN;
        }

        for (int group = 0; group < _groupChosen.Length; group++)
        {
            if (!_groupChosen[group])
            {
                _choice.AsSpan(group * size, size).Fill(float.NegativeInfinity);
            }
        }
    }
}
