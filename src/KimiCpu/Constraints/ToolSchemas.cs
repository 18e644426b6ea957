// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;

namespace KimiCpu.Constraints;

/// <summary>
/// Compiled schemas of tools by their text, the latest used ones, since most calls come with the same tools and what a
/// constraint finds out about tokens stays with it. Safe to use from several threads.
/// </summary>
/// <param name="maxBytes">What they may take together; the latest one is kept in any case.</param>
internal sealed class ToolSchemas(long maxBytes = 512_000_000)
{
    public const int Capacity = 256;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, LinkedListNode<(string Text, KimiConstraint Constraint)>> _byText = new(StringComparer.Ordinal);
    private readonly LinkedList<(string Text, KimiConstraint Constraint)> _latestFirst = new();

    /// <summary>Hashes, since a schema may be refused for its length.</summary>
    private readonly HashSet<string> _refused = new(StringComparer.Ordinal);
    private volatile bool _anyRefused;

    /// <param name="parameters">JSON Schema; undefined or null for any object.</param>
    /// <param name="cancellationToken">Ends the compilation.</param>
    /// <exception cref="KimiConstraintException">The schema cannot be a constraint.</exception>
    public KimiConstraint Get(JsonElement parameters, CancellationToken cancellationToken)
    {
        bool any = parameters.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null;
        string text = any ? "" : parameters.GetRawText();
        lock (_gate)
        {
            if (_byText.TryGetValue(text, out LinkedListNode<(string Text, KimiConstraint Constraint)>? known))
            {
                _latestFirst.Remove(known);
                _latestFirst.AddFirst(known);
                Trim();
                return known.Value.Constraint;
            }
        }

        // Not inside the lock: others need not wait for a large schema. Whoever comes second leaves the first one's in place.
        KimiConstraint made = any ? KimiConstraint.Json() : KimiConstraint.ToolArguments(parameters, cancellationToken);
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

    /// <summary>As <see cref="Get"/>, but any object where the schema cannot be a constraint.</summary>
    /// <param name="parameters">JSON Schema; undefined or null for any object.</param>
    /// <param name="refused">Told why it cannot be; once for each schema, as long as it is kept.</param>
    /// <param name="cancellationToken">Ends the compilation.</param>
    public KimiConstraint GetOrAny(JsonElement parameters, Action<KimiConstraintException> refused, CancellationToken cancellationToken)
    {
        // All calls pass here with all of their tools, and hardly any schema is refused: nothing is hashed for none, and nobody waits for a hash.
        bool known = false;
        if (parameters.ValueKind == JsonValueKind.Object && _anyRefused)
        {
            string hash = HashOf(parameters);
            lock (_gate)
            {
                known = _refused.Contains(hash);
            }
        }

        try
        {
            return known ? Get(default, cancellationToken) : Get(parameters, cancellationToken);
        }
        catch (KimiConstraintException e)
        {
            string hash = HashOf(parameters);
            lock (_gate)
            {
                if (_refused.Count >= Capacity)
                {
                    _refused.Clear();
                }

                _refused.Add(hash);
                _anyRefused = true;
            }

            refused(e);
            return Get(default, cancellationToken);
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
}
