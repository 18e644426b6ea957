// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Generation;

/// <summary>
/// How many prompt tokens a step takes in. Beside running answers it follows the steps' measured times, so that a step is
/// about as long as the gap that is allowed between two tokens. The time grows less than in proportion to the tokens (the
/// first ones read most of the experts), so a correction in proportion comes closer with every step and never overshoots.
/// Where a device computes large parts of a prompt with fewer operations, a step that falls below such a part takes longer than a larger one,
/// and in proportion would never come back to it: once a prompt, the smallest such part is tried where it cannot take much longer than is aimed at.
/// Where a step's first tokens read most of the experts, and the gap allows no more than these, a prompt would take several times as long, and the answers beside it too: up to the
/// part at which each token more is cheap, a longer gap is aimed at. Only up to that gap, since behind a long text each token takes its time.
/// </summary>
/// <param name="most">Tokens of a step.</param>
/// <param name="gap">Aimed at; null for none.</param>
/// <param name="efficientPart">See <see cref="PromptShares"/>.</param>
/// <param name="sparsePart">Tokens which have met nearly all experts; 0 where the gap is kept whatever it costs.</param>
internal sealed class PromptPace(int most, TimeSpan? gap, int efficientPart = 1, int sparsePart = 0)
{
    /// <summary>Prompts must move, however long a step takes.</summary>
    private const int Least = 16;

    /// <summary>Before anything is known.</summary>
    private const int First = 32;

    /// <summary>Part of the gap that is aimed at: steps are not all alike.</summary>
    private const double Aim = 0.8;

    /// <summary>Gaps that a step may take for the sparse part.</summary>
    private const int Stretch = 8;

    /// <summary>Most that a single step raises the number by.</summary>
    private const double MostGrowth = 2;

    /// <summary>
    /// Part of an efficient part that must fit for the whole of it to be tried. The time grows no faster than the tokens, so such a step
    /// takes 1.2 times the gap at most.
    /// </summary>
    private const double EnoughToTry = 2 / 3.0;

    private double _tokens = First;
    private bool _tried;
    private double _withoutPrompts;

    /// <summary>Prompt tokens of the next step.</summary>
    /// <param name="answersRun">Whether it also moves answers.</param>
    public int Tokens(bool answersRun) => answersRun && gap is not null ? Clamp(_tokens) : most;

    /// <summary>Learns from a step that moved answers.</summary>
    /// <param name="promptTokens">That it took in.</param>
    /// <param name="time">That it took.</param>
    public void Note(int promptTokens, TimeSpan time)
    {
        if (gap is not { } allowed)
        {
            return;
        }

        if (promptTokens == 0)
        {
            _tried = false;

            // The next prompt may stand behind a much longer text, and a step of so many tokens take as many times longer.
            _tokens = _tokens <= sparsePart ? Math.Min(_tokens, First) : _tokens;
            _withoutPrompts = _withoutPrompts == 0 ? time.TotalSeconds : (0.8 * _withoutPrompts) + (0.2 * time.TotalSeconds);
            return;
        }

        // A step without prompts takes no longer than one with them. Where it once did, as a first step does whose weights are not in memory yet, nothing else would tell while prompts keep coming.
        _withoutPrompts = Math.Min(_withoutPrompts, time.TotalSeconds);
        double right = Fitting(allowed);
        if (right < sparsePart)
        {
            // Few tokens that are not too many say nothing against the others of the part.
            bool areFew = promptTokens < Math.Min(sparsePart, Clamp(_tokens)) && time <= Aim * Stretch * allowed;
            right = areFew ? sparsePart : Math.Min(sparsePart, Fitting(Stretch * allowed));
        }

        // A step with few tokens, because there were no more, says nothing against more of them.
        if (right < _tokens ? time > Aim * allowed || promptTokens >= Clamp(_tokens) : promptTokens >= Clamp(_tokens))
        {
            _tokens = Clamp(right);
            TryEfficientPart(right);
        }

        double Fitting(TimeSpan gap)
        {
            double room = Math.Max(0, (Aim * gap.TotalSeconds) - _withoutPrompts);
            double cost = Math.Max(time.TotalSeconds - _withoutPrompts, 1e-6);
            return promptTokens * Math.Min(room / cost, MostGrowth);
        }
    }

    private void TryEfficientPart(double right)
    {
        if (!_tried && efficientPart <= most && right < efficientPart && right >= EnoughToTry * efficientPart)
        {
            _tried = true;
            _tokens = efficientPart;
        }
    }

    private int Clamp(double tokens) => (int)Math.Clamp(tokens, Math.Min(Least, most), most);
}
