// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Security.Cryptography;
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
    public const int Capacity = 256;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, LinkedListNode<(string Text, KimiConstraint Constraint)>> _byText = new(StringComparer.Ordinal);
    private readonly LinkedList<(string Text, KimiConstraint Constraint)> _latestFirst = new();

    /// <summary>By hashes, since a schema may be refused for its length.</summary>
    private readonly Dictionary<string, Refusal> _refused = new(StringComparer.Ordinal);
    private readonly Lazy<KimiConstraint> _any = new(KimiConstraint.Json);
    private volatile bool _anyRefused;

    /// <param name="parameters">JSON Schema; undefined or null for any object.</param>
    /// <param name="budget">Of the call, which is to hold the constraint.</param>
    /// <exception cref="KimiConstraintException">The schema cannot be a constraint, or the schemas of the call are too much together.</exception>
    public KimiConstraint Get(JsonElement parameters, CallBudget budget) =>
        Find(parameters, budget, out Refusal? refusal) ?? throw new KimiConstraintException(refusal!.Message);

    /// <summary>As <see cref="Get"/>, but any object where the schema cannot be a constraint.</summary>
    /// <param name="parameters">JSON Schema; undefined or null for any object.</param>
    /// <param name="refused">Told why it cannot be; once for each schema, as long as it is kept. What is too much for one call may do in another one, and is told each time.</param>
    /// <param name="budget">Of the call, which is to hold the constraint.</param>
    public KimiConstraint GetOrAny(JsonElement parameters, Action<string> refused, CallBudget budget)
    {
        try
        {
            if (Find(parameters, budget, out Refusal? refusal) is { } found)
            {
                return found;
            }

            if (refusal!.IsNews())
            {
                refused(refusal.Message);
            }
        }
        catch (KimiConstraintException e)
        {
            refused(e.Message);
        }

        return _any.Value;
    }

    /// <returns>The constraint; null where the schema cannot be one.</returns>
    /// <exception cref="KimiConstraintException">The schemas of the call are too much together.</exception>
    private KimiConstraint? Find(JsonElement parameters, CallBudget budget, out Refusal? refusal)
    {
        refusal = null;
        if (parameters.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null)
        {
            // One for all tools: of no weight.
            return _any.Value;
        }

        string text = parameters.GetRawText();
        KimiConstraint? found = Known(text);
        if (found is null)
        {
            refusal = KnownRefusal(parameters);
            if (refusal is not null)
            {
                budget.CountWork(refusal.Work);
                return null;
            }

            // Not inside the lock: others need not wait for a large schema.
            CompileBudget one = budget.Begin();
            try
            {
                found = Keep(text, KimiConstraint.ToolArguments(parameters, one));
            }
            catch (KimiConstraintException e)
            {
                // Only of what it takes alone is it known that it will be refused again.
                budget.CountWork(one.Work);
                refusal = Keep(parameters, new Refusal(e.Message, one.Work));
                return null;
            }
        }

        budget.Count(found);
        return found;
    }

    private KimiConstraint? Known(string text)
    {
        lock (_gate)
        {
            if (!_byText.TryGetValue(text, out LinkedListNode<(string Text, KimiConstraint Constraint)>? known))
            {
                return null;
            }

            _latestFirst.Remove(known);
            _latestFirst.AddFirst(known);
            Trim();
            return known.Value.Constraint;
        }
    }

    /// <summary>Whoever comes second leaves the first one's in place.</summary>
    private KimiConstraint Keep(string text, KimiConstraint made)
    {
        lock (_gate)
        {
            if (_byText.TryGetValue(text, out LinkedListNode<(string Text, KimiConstraint Constraint)>? known))
            {
                return known.Value.Constraint;
            }

            _byText.Add(text, _latestFirst.AddFirst((text, made)));
            Trim();
            return made;
        }
    }

    /// <summary>Calls come with tools that are not compiled yet, and hardly any schema is refused: nothing is hashed for none, and nobody waits for a hash.</summary>
    private Refusal? KnownRefusal(JsonElement parameters)
    {
        if (!_anyRefused)
        {
            return null;
        }

        string hash = HashOf(parameters);
        lock (_gate)
        {
            return _refused.GetValueOrDefault(hash);
        }
    }

    private Refusal Keep(JsonElement parameters, Refusal refusal)
    {
        string hash = HashOf(parameters);
        lock (_gate)
        {
            if (_refused.TryGetValue(hash, out Refusal? known))
            {
                return known;
            }

            if (_refused.Count >= Capacity)
            {
                _refused.Clear();
            }

            _refused.Add(hash, refusal);
            _anyRefused = true;
            return refusal;
        }
    }

    private static string HashOf(JsonElement parameters) => Convert.ToHexString(SHA256.HashData(JsonMarshal.GetRawUtf8Value(parameters)));

    /// <summary>Constraints grow while they are used, so all are looked at, whichever is asked for.</summary>
    private void Trim()
    {
        long bytes = _latestFirst.Sum(e => e.Constraint.Bytes + (e.Text.Length * sizeof(char)));
        while (_byText.Count > Capacity || (bytes > maxBytes && _byText.Count > 1))
        {
            (string text, KimiConstraint constraint) = _latestFirst.Last!.Value;
            bytes -= constraint.Bytes + (text.Length * sizeof(char));
            _byText.Remove(text);
            _latestFirst.RemoveLast();
        }
    }

    /// <summary>Why a schema cannot be a constraint, and how many steps it took to find that out.</summary>
    private sealed class Refusal(string message, long work)
    {
        private int _told;

        public string Message => message;

        public long Work => work;

        /// <summary>Whether nobody has asked before.</summary>
        public bool IsNews() => Interlocked.Exchange(ref _told, 1) == 0;
    }
}
