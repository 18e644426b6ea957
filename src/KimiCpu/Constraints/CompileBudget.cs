// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>Bounds what compiling one constraint may cost, whoever wrote it, and lets it be cancelled.</summary>
/// <param name="cancellationToken">Ends the compilation.</param>
/// <param name="maxWork">Steps that it may take: less than usual where others have taken of what they have together.</param>
internal sealed class CompileBudget(CancellationToken cancellationToken, long maxWork = CompileBudget.MaxWork)
{
    public const int MaxStates = 400_000;
    public const int MaxRules = 20_000;
    /// <summary>Entries of automata's tables, 4 bytes each.</summary>
    public const long MaxCells = 32_000_000;

    /// <summary>
    /// Steps, each about as long as it takes to look at one edge of an automaton: 3 to 8 ns on one core of Zen 3, over 30 large schemas
    /// and patterns of all kinds. They are counted and not timed, so that a busy machine takes what a quiet one does.
    /// </summary>
    public const long MaxWork = 2_000_000_000;

    /// <summary>A place in a table is found.</summary>
    private const int WorkOfPlace = 16;

    /// <summary>Characters that are hashed, or copied, in a step.</summary>
    private const int CharactersOfStep = 8;

    private const int WorkBetweenLooks = 0x1000;

    /// <summary>A state or a rule is allocated, numbered and kept.</summary>
    private const int WorkOfState = 64;

    private int _states;
    private int _rules;
    private long _cells;

    /// <summary>Steps so far.</summary>
    public long Work { get; private set; }

    /// <summary>Steps in which a text is found in a table.</summary>
    public static long WorkOfLookup(string text) => WorkOfPlace + (text.Length / CharactersOfStep);

    /// <exception cref="KimiConstraintException">There are too many.</exception>
    public void CountState()
    {
        if (++_states > MaxStates)
        {
            throw new KimiConstraintException($"The constraint needs more than {MaxStates:N0} states. Use smaller bounds of repetitions and lengths, fewer or shorter alternatives, or simpler patterns.");
        }

        Spend(WorkOfState);
    }

    /// <exception cref="KimiConstraintException">There are too many.</exception>
    public void CountRule()
    {
        if (++_rules > MaxRules)
        {
            throw new KimiConstraintException($"The constraint needs more than {MaxRules:N0} rules. Use a smaller schema.");
        }

        Spend(WorkOfState);
    }

    /// <summary>Counts what automata keep beside their states, so that few large states cost no more memory than many small ones.</summary>
    /// <param name="count">Entries to come.</param>
    /// <exception cref="KimiConstraintException">There are too many.</exception>
    public void CountCells(long count)
    {
        if ((_cells += count) > MaxCells)
        {
            throw new KimiConstraintException($"The constraint needs tables of more than {MaxCells:N0} entries. Use smaller bounds of repetitions and lengths, fewer or shorter alternatives, or simpler patterns.");
        }

        Spend(count);
    }

    /// <summary>Counts work, and looks at the token now and then.</summary>
    /// <param name="work">Steps to come, or since the last call: one for each edge or entry of a table that is looked at, more for what takes longer.</param>
    /// <exception cref="KimiConstraintException">It is too much.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Spend(long work)
    {
        long before = Work;
        Work += work;
        if (Work > maxWork)
        {
            throw new KimiConstraintException($"Compiling the constraint takes more than {maxWork:N0} steps. Use a simpler one: fewer alternatives that begin alike, smaller bounds of repetitions, or fewer patterns for one text.");
        }

        if (before / WorkBetweenLooks != Work / WorkBetweenLooks)
        {
            cancellationToken.ThrowIfCancellationRequested();
        }
    }
}
