// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>
/// Bounds what the schemas of one call's tools cost together, so that many of them cost little more than one may. What was compiled before
/// counts as if it were compiled now: whether a call is refused does not depend on what came before it.
/// </summary>
/// <param name="cancellationToken">Ends the compilation.</param>
internal sealed class CallBudget(CancellationToken cancellationToken)
{
    /// <summary>Twice what one schema may take, so that one that is refused for it leaves enough for the others.</summary>
    public const long MaxWork = 2 * CompileBudget.MaxWork;

    /// <summary>Tables that the call holds as long as it runs, whatever others forget; one schema has 150 MB at most.</summary>
    public const long MaxBytes = 256_000_000;

    private readonly HashSet<KimiConstraint> _counted = [];
    private long _work;
    private long _bytes;

    /// <summary>What the next schema may cost.</summary>
    public CompileBudget Begin() => new(cancellationToken, Math.Min(CompileBudget.MaxWork, MaxWork - _work));

    /// <summary>Counts a constraint, once, that the call is to hold.</summary>
    /// <exception cref="KimiConstraintException">It is too much; its tables are not counted then.</exception>
    public void Count(KimiConstraint constraint)
    {
        if (_counted.Contains(constraint))
        {
            return;
        }

        CountWork(constraint.Work);
        if (_bytes + constraint.TableBytes > MaxBytes)
        {
            throw new KimiConstraintException($"The schemas of the call's tools need more than {MaxBytes / 1_000_000:N0} MB of tables together. Declare fewer tools at once, or use simpler schemas: shorter lists of values, smaller bounds, simpler patterns.");
        }

        _bytes += constraint.TableBytes;
        _counted.Add(constraint);
    }

    /// <summary>Counts steps that a schema took.</summary>
    /// <exception cref="KimiConstraintException">They are too many.</exception>
    public void CountWork(long work)
    {
        _work += work;
        if (_work > MaxWork)
        {
            throw new KimiConstraintException($"Compiling the schemas of the call's tools takes more than {MaxWork:N0} steps together. Declare fewer tools at once, or use simpler schemas: fewer alternatives that begin alike, smaller bounds of repetitions, or fewer patterns for one text.");
        }
    }
}
