// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints;

/// <summary>
/// Compiled schemas of tools by their text, the latest used ones, since most calls come with the same tools and what a
/// constraint finds out about tokens stays with it. That a schema was refused is known, too: to find it out again may take seconds. Safe to
/// use from several threads.
/// </summary>
/// <param name="maxBytes">What they may take together; the latest one is kept in any case.</param>
internal sealed class ToolSchemas(long maxBytes = 512_000_000)
{
    /// <summary>More than the requests of some agents at a time bring, each with tools of its own: where they were more, each turn would push out what the next one asks for. Mostly the bytes are the bound.</summary>
    public const int Capacity = 4096;

    private const int CountedAtOnce = 8;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, LinkedListNode<Kept>> _byText = new(StringComparer.Ordinal);
    private readonly LinkedList<Kept> _latestFirst = new();
    private LinkedListNode<Kept>? _next;
    private long _bytes;
    private readonly RefusedSchemas _refused = new();
    private readonly TurnsByText _turns = new();
    private readonly Lazy<KimiConstraint> _any = new(KimiConstraint.Json);

    /// <summary>Compiles a schema.</summary>
    public Func<JsonElement, CompileBudget, KimiConstraint> Compiler { get; init; } = KimiConstraint.ToolArguments;

    /// <param name="parameters">JSON Schema; undefined or null for any object.</param>
    /// <param name="budget">Of the call, which is to hold the constraint.</param>
    /// <exception cref="KimiConstraintException">The schema cannot be a constraint, or the schemas of the call are too much together.</exception>
    public KimiConstraint Get(JsonElement parameters, CallBudget budget) =>
        Find(parameters, budget, out SchemaRefusal? refusal) ?? throw new KimiConstraintException(refusal!.Message);

    /// <summary>As <see cref="Get"/>, but any object where the schema cannot be a constraint.</summary>
    /// <param name="parameters">JSON Schema; undefined or null for any object.</param>
    /// <param name="refused">
    /// Told why it cannot be, and whether that is for what the call's other schemas took. What is the schema's fault is told once, as long as that is kept.
    /// What is too much for one call may do in another one, and is told each time.
    /// </param>
    /// <param name="budget">Of the call, which is to hold the constraint.</param>
    public KimiConstraint GetOrAny(JsonElement parameters, Action<string, bool> refused, CallBudget budget)
    {
        try
        {
            if (Find(parameters, budget, out SchemaRefusal? refusal) is { } found)
            {
                return found;
            }

            if (refusal!.IsNews())
            {
                refused(refusal.Message, false);
            }
        }
        catch (KimiConstraintException e)
        {
            refused(e.Message, true);
        }

        return _any.Value;
    }

    /// <returns>The constraint; null where the schema cannot be one.</returns>
    /// <exception cref="KimiConstraintException">The schemas of the call are too much together.</exception>
    private KimiConstraint? Find(JsonElement parameters, CallBudget budget, out SchemaRefusal? refusal)
    {
        refusal = null;
        if (parameters.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null)
        {
            // One for all tools: of no weight.
            return _any.Value;
        }

        string text = parameters.GetRawText();
        KimiConstraint? found = Known(text) ?? Make(parameters, text, budget, out refusal);
        if (found is not null)
        {
            budget.Count(found);
        }

        return found;
    }

    /// <summary>
    /// Not inside the lock, as others need not wait for a large schema; but calls that begin together mostly have the same tools, which are there then for all
    /// but the first.
    /// </summary>
    private KimiConstraint? Make(JsonElement parameters, string text, CallBudget budget, out SchemaRefusal? refusal)
    {
        using IDisposable turn = _turns.Enter(text, budget.CancellationToken);
        refusal = null;
        if (Known(text) is { } known)
        {
            return known;
        }

        refusal = _refused.Find(parameters);
        if (refusal is not null && (refusal.IsFinal || !budget.Has(refusal.Work)))
        {
            budget.Count(refusal);
            return null;
        }

        refusal = null;
        CompileBudget one = budget.Begin();
        try
        {
            return Keep(text, Compiler(parameters, one));
        }
        catch (KimiConstraintException e)
        {
            // What ended for the call's other schemas may do in another call, but will end again where no more is left.
            refusal = _refused.Keep(parameters, new SchemaRefusal(e.Message, one.Work, isFinal: budget.Has(one.Work)));
            budget.Count(refusal);
            return null;
        }
    }

    private KimiConstraint? Known(string text)
    {
        lock (_gate)
        {
            if (!_byText.TryGetValue(text, out LinkedListNode<Kept>? known))
            {
                return null;
            }

            Unlink(known);
            _latestFirst.AddFirst(known);
            Count(known);
            Trim();
            return known.Value.Constraint;
        }
    }

    private KimiConstraint Keep(string text, KimiConstraint made)
    {
        lock (_gate)
        {
            LinkedListNode<Kept> kept = _latestFirst.AddFirst(new Kept(text, made));
            _byText.Add(text, kept);
            Count(kept);
            Trim();
            return made;
        }
    }

    /// <summary>Constraints grow while they are used, and some become smaller again: one is counted when it is asked for, and some of the others each time, in turn.</summary>
    private void Count(LinkedListNode<Kept> asked)
    {
        Count(asked.Value);
        for (int i = 0; i < CountedAtOnce; i++)
        {
            _next ??= _latestFirst.First!;
            Count(_next.Value);
            _next = _next.Next;
        }
    }

    private void Count(Kept kept)
    {
        long bytes = kept.Constraint.Bytes + (kept.Text.Length * sizeof(char));
        _bytes += bytes - kept.Bytes;
        kept.Bytes = bytes;
    }

    private void Trim()
    {
        while (_byText.Count > Capacity || (_bytes > maxBytes && _byText.Count > 1))
        {
            LinkedListNode<Kept> last = _latestFirst.Last!;
            Count(last.Value);
            if (_byText.Count <= Capacity && _bytes <= maxBytes)
            {
                return;
            }

            _bytes -= last.Value.Bytes;
            _byText.Remove(last.Value.Text);
            Unlink(last);
        }
    }

    private void Unlink(LinkedListNode<Kept> node)
    {
        _next = _next == node ? node.Next : _next;
        _latestFirst.Remove(node);
    }

    private sealed record Kept(string Text, KimiConstraint Constraint)
    {
        /// <summary>What it took when it was counted.</summary>
        public long Bytes { get; set; }
    }
}
