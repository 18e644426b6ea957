// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;

namespace KimiCpu.Constraints;

/// <summary>Schemas that were refused, by their hashes, since a schema may be refused for its length. Safe to use from several threads.</summary>
internal sealed class RefusedSchemas
{
    /// <summary>Of so many that were used longest ago the one is forgotten that took the fewest steps.</summary>
    private const int Oldest = 64;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, (SchemaRefusal Refusal, long Use)> _byHash = new(StringComparer.Ordinal);
    private long _uses;
    private volatile bool _any;

    /// <summary>Calls come with tools that are not compiled yet, and hardly any schema is refused: nothing is hashed for none, and nobody waits for a hash.</summary>
    /// <returns>Null where it was not refused, or that is forgotten.</returns>
    public SchemaRefusal? Find(JsonElement schema)
    {
        if (!_any)
        {
            return null;
        }

        string hash = HashOf(schema);
        lock (_gate)
        {
            if (!_byHash.TryGetValue(hash, out (SchemaRefusal Refusal, long Use) kept))
            {
                return null;
            }

            _byHash[hash] = (kept.Refusal, ++_uses);
            return kept.Refusal;
        }
    }

    /// <summary>
    /// Whoever comes second leaves the first one's in place, unless it is known better. Where they are too many, of those used long ago what was found out with the fewest steps
    /// is forgotten: else one call with many bad tools would make what others took seconds for be found out again.
    /// </summary>
    public SchemaRefusal Keep(JsonElement schema, SchemaRefusal refusal)
    {
        string hash = HashOf(schema);
        lock (_gate)
        {
            if (_byHash.TryGetValue(hash, out (SchemaRefusal Refusal, long Use) kept))
            {
                SchemaRefusal known = kept.Refusal;
                if (known.IsFinal || (!refusal.IsFinal && refusal.Work <= known.Work))
                {
                    return known;
                }
            }
            else if (_byHash.Count >= ToolSchemas.Capacity)
            {
                _byHash.Remove(_byHash.OrderBy(r => r.Value.Use).Take(Oldest).MinBy(r => r.Value.Refusal.Work).Key);
            }

            _byHash[hash] = (refusal, ++_uses);
            _any = true;
            return refusal;
        }
    }

    private static string HashOf(JsonElement schema) => Convert.ToHexString(SHA256.HashData(JsonMarshal.GetRawUtf8Value(schema)));
}
