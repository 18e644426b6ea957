// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Generation;

/// <summary>
/// Divides a step's prompt tokens among the calls whose texts enter. Half are of the call that came first and the others of those
/// that need the fewest, so that short prompts overtake long ones and none is held up for ever; what a short prompt waits for in a long one counts as short. Where a device computes small parts of a
/// prompt with more operations, and half of a step is such a part, whole steps go round instead: the call that came first gets one as soon as
/// less than half of the tokens were its own since its last one, and one that needs fewer than all others needs no turns.
/// A step in which a prompt ends has few tokens of others: who asked little hears soon.
/// </summary>
/// <param name="efficientPart">Tokens of a prompt from which on the device computes each with fewer operations; 1, or more than a step has, where their number changes nothing.</param>
internal sealed class PromptShares(int efficientPart)
{
    /// <summary>Its number.</summary>
    private long _first = -1;

    /// <summary>Tokens by which the call that came first is short of half of those that it shared with others.</summary>
    private int _owed;

    /// <summary>Adds to each call's rows of the step.</summary>
    /// <param name="entering">In the order of their arrival; each misses a token at least, knows what is needed of it, and has no rows yet.</param>
    /// <param name="budget">Prompt tokens of the step.</param>
    /// <param name="pace">Those of a step in which a prompt ends, as far as it leaves them and the call that came first has its half.</param>
    public void Divide(IReadOnlyList<ScheduledCall> entering, int budget, int pace)
    {
        if (entering.Count == 0)
        {
            return;
        }

        ScheduledCall first = entering[0];
        if (first.Number != _first)
        {
            (_first, _owed) = (first.Number, 0);
        }

        ScheduledCall[] others = [.. entering.Skip(1).OrderBy(c => c.Needed)];
        int most = budget;
        int half = (budget + 1) / 2;
        if (others.Length == 0 || half >= efficientPart || budget < efficientPart)
        {
            // Of steps that it has alone more than half are its own.
            _owed = others.Length == 0 ? 0 : _owed;
            Give(first, half);
            GiveAll(others);
            Give(first, budget);
            if (pace < most)
            {
                // Half of what remains is still the first one's.
                int ending = Ending(entering);
                Cut(entering, Math.Max(pace - ending, first.StepEndsText ? 0 : ending));
            }
        }
        else if (first.Missing <= others[0].Needed)
        {
            Give(first, budget);
            GiveAll(others);
            if (pace < most)
            {
                Cut(entering, rest: 0);
            }
        }
        else
        {
            bool isTurn = _owed > 0;
            if (isTurn)
            {
                // What is short still overtakes, as long as it leaves an efficient part.
                foreach (ScheduledCall other in others.TakeWhile(c => budget - c.NeededOfText >= efficientPart))
                {
                    Give(other, other.NeededOfText - other.StepRows);
                }

                Give(first, budget);
            }

            GiveAll(others);
            Give(first, budget);
            if (pace < most && !isTurn)
            {
                // A part of the first one's that is not efficient is better computed later, in its turn.
                Cut(entering, rest: 0);
            }

            int taken = entering.Sum(c => c.StepRows);
            _owed = Math.Max(0, _owed + ((taken + 1) / 2) - first.StepRows);
        }

        void GiveAll(ScheduledCall[] calls)
        {
            // What somebody waits for in a long text is short, and not what is behind it.
            foreach (ScheduledCall call in calls)
            {
                Give(call, Math.Max(0, call.NeededOfText - call.StepRows));
            }

            foreach (ScheduledCall call in calls)
            {
                Give(call, budget);
            }
        }

        void Give(ScheduledCall call, int tokensAtMost)
        {
            int tokens = Math.Min(Math.Min(tokensAtMost, budget), call.Missing - call.StepRows);
            call.StepRows += tokens;
            budget -= tokens;
        }
    }

    private static int Ending(IReadOnlyList<ScheduledCall> entering) => entering.Sum(c => c.StepEndsText ? c.StepRows : 0);

    /// <summary>Where a text ends in the step, takes rows from those whose texts do not, so that no more than a rest is theirs; the first ones keep theirs longest.</summary>
    private static void Cut(IReadOnlyList<ScheduledCall> entering, int rest)
    {
        if (Ending(entering) == 0)
        {
            return;
        }

        foreach (ScheduledCall call in entering)
        {
            if (!call.StepEndsText)
            {
                call.StepRows = Math.Min(call.StepRows, rest);
                rest -= call.StepRows;
            }
        }
    }
}
