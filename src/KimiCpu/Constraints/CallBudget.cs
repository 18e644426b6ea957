// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>
/// Bounds what the schemas of one call's tools cost together, so that many of them cost little more than one may. What was compiled before
/// counts as if it were compiled now: whether a call is refused does not depend on what came before it.
/// </summary>
/// <param name="cancellationToken">Ends the compilation.</param>
/// <param name="maxWork">Steps that all may take together; one may take half of them.</param>
internal sealed class CallBudget(CancellationToken cancellationToken, long maxWork = CallBudget.MaxWork)
{
    /// <summary>Twice what one schema may take, so that one that is refused for it leaves enough for the others.</summary>
    public const long MaxWork = 2 * CompileBudget.MaxWork;

    /// <summary>Tables that the call holds as long as it runs, whatever others forget; one schema has 150 MB at most.</summary>
    public const long MaxBytes = 256_000_000;

    private readonly HashSet<KimiConstraint> _counted = [];
    private readonly HashSet<KimiConstraint> _tooLarge = [];
    private readonly HashSet<SchemaRefusal> _refused = [];
    private readonly long _maxWorkOfOne = maxWork / 2;
    private long _work;
    private long _bytes;

    /// <summary>Ends the compilation.</summary>
    public CancellationToken CancellationToken => cancellationToken;

    /// <summary>Whether a schema that takes so many steps, or ends after as many as one may take, finds them.</summary>
    public bool Has(long work) => _work + Math.Min(work, _maxWorkOfOne) <= maxWork;

    /// <summary>What the next schema may cost.</summary>
    /// <exception cref="KimiConstraintException">Nothing is left.</exception>
    public CompileBudget Begin() => _work >= maxWork ? throw TooMuchWork() : new CompileBudget(cancellationToken, Math.Min(_maxWorkOfOne, maxWork - _work));

    /// <summary>Counts a constraint that the call is to hold; its steps once, also where its tables do not fit.</summary>
    /// <exception cref="KimiConstraintException">It is too much; its tables are not counted then.</exception>
    public void Count(KimiConstraint constraint)
    {
        if (_counted.Contains(constraint))
        {
            return;
        }

        if (_tooLarge.Contains(constraint))
        {
            throw TooManyTables();
        }

        CountWork(constraint.Work);
        if (_bytes + constraint.TableBytes > MaxBytes)
        {
            _tooLarge.Add(constraint);
            throw TooManyTables();
        }

        _bytes += constraint.TableBytes;
        _counted.Add(constraint);
    }

    /// <summary>Counts steps that a schema took.</summary>
    /// <exception cref="KimiConstraintException">They are too many.</exception>
    public void CountWork(long work)
    {
        _work += work;
        if (_work > maxWork)
        {
            throw TooMuchWork();
        }
    }

    /// <summary>
    /// Counts steps that a refused schema took, once, and no more than one may take: the last of them may go beyond that, and two schemas
    /// that are too large shall each be refused for themselves, which is remembered.
    /// </summary>
    /// <exception cref="KimiConstraintException">They are too many together with those of others.</exception>
    public void Count(SchemaRefusal refusal)
    {
        if (_refused.Add(refusal))
        {
            CountWork(Math.Min(refusal.Work, _maxWorkOfOne));
        }
        else if (!refusal.IsFinal && _work > maxWork)
        {
            throw TooMuchWork();
        }
    }

    private static KimiConstraintException TooManyTables() =>
        new($"The schemas of the call's tools need more than {MaxBytes / 1_000_000:N0} MB of tables together. Declare fewer tools at once, or use simpler schemas: shorter lists of values, smaller bounds, simpler patterns.");

    private KimiConstraintException TooMuchWork() =>
        new($"Compiling the schemas of the call's tools takes more than {maxWork:N0} steps together. Declare fewer tools at once, or use simpler schemas: fewer alternatives that begin alike, smaller bounds of repetitions, or fewer patterns for one text.");
}
