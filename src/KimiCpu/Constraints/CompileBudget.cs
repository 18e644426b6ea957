// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Constraints;

/// <summary>Bounds what compiling one constraint may cost, whoever wrote it, and lets it be cancelled.</summary>
internal sealed class CompileBudget(CancellationToken cancellationToken)
{
    public const int MaxStates = 400_000;
    public const int MaxRules = 20_000;
    /// <summary>Entries of automata's tables, 4 bytes each.</summary>
    public const long MaxCells = 32_000_000;
    public static readonly TimeSpan MaxTime = TimeSpan.FromSeconds(10);

    private readonly long _start = Stopwatch.GetTimestamp();
    private int _states;
    private int _rules;
    private long _cells;
    private long _work;

    /// <exception cref="KimiConstraintException">There are too many.</exception>
    public void CountState()
    {
        if (++_states > MaxStates)
        {
            throw new KimiConstraintException($"The constraint needs more than {MaxStates:N0} states. Use smaller bounds of repetitions and lengths, fewer or shorter alternatives, or simpler patterns.");
        }

        Check();
    }

    /// <exception cref="KimiConstraintException">There are too many.</exception>
    public void CountRule()
    {
        if (++_rules > MaxRules)
        {
            throw new KimiConstraintException($"The constraint needs more than {MaxRules:N0} rules. Use a smaller schema.");
        }

        Check();
    }

    /// <summary>Counts what automata keep beside their states, so that few large states cost no more memory than many small ones.</summary>
    /// <param name="count">Entries to come.</param>
    /// <exception cref="KimiConstraintException">There are too many.</exception>
    public void CountCells(int count)
    {
        if ((_cells += count) > MaxCells)
        {
            throw new KimiConstraintException($"The constraint needs tables of more than {MaxCells:N0} entries. Use smaller bounds of repetitions and lengths, fewer or shorter alternatives, or simpler patterns.");
        }

        Check(count);
    }

    /// <summary>Looks at the clock and the token now and then.</summary>
    /// <param name="work">Steps since the last call, roughly.</param>
    /// <exception cref="KimiConstraintException">It takes too long.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Check(int work = 1)
    {
        if ((_work += work) >= 0x100)
        {
            _work = 0;
            cancellationToken.ThrowIfCancellationRequested();
            if (Stopwatch.GetElapsedTime(_start) > MaxTime)
            {
                throw new KimiConstraintException($"Compiling the constraint took more than {MaxTime.TotalSeconds} seconds. Use a simpler one.");
            }
        }
    }
}
