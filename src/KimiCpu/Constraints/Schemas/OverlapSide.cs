// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;

namespace KimiCpu.Constraints.Schemas;

/// <summary>One alternative of a branch of <c>oneOf</c>, or of a member of it: what it says, read once, and what it must not have.</summary>
/// <param name="schemas">That hold together.</param>
/// <param name="expansion">Of members.</param>
/// <param name="budget">What it may cost.</param>
/// <param name="mayForbid">Whether <see cref="Forbid"/> has an effect: not where a member has several alternatives, of which it would not be known which one.</param>
internal sealed class OverlapSide(SchemaElement[] schemas, SchemaExpansion expansion, CompileBudget budget, bool mayForbid)
{
    /// <summary>What is kept of a member that must not be there, beside its name.</summary>
    private const int CellsOfName = 32;

    private readonly SchemaFacts _facts = new(schemas, budget);
    private readonly Dictionary<string, OverlapSide[]> _members = new(StringComparer.Ordinal);
    private readonly HashSet<string> _forbidden = new(StringComparer.Ordinal);
    private JsonTypes? _types;

    public SchemaElement[] Schemas => schemas;

    public bool MayForbid => mayForbid;

    /// <summary>The only values, see <see cref="JsonValueKey"/>; null for no such list.</summary>
    public HashSet<string>? Values => _facts.Values is null ? null : field ??= JsonValueKey.Of(_facts.Values, budget);

    public JsonTypes Types => _types ??= _facts.Types & (_facts.Values?.Aggregate(JsonTypes.None, (all, v) => all | SchemaFacts.TypeOf(v)) ?? JsonTypes.All);

    public ObjectFacts Members => field ??= new ObjectFacts(schemas, budget);

    /// <summary>The alternatives of a required member.</summary>
    public OverlapSide[] MemberOf(string name)
    {
        if (!_members.TryGetValue(name, out OverlapSide[]? sides))
        {
            List<SchemaElement[]> alternatives = expansion.Expand(Members.SchemasOf(name, _ => false));
            sides = [.. alternatives.Select(a => new OverlapSide(a, expansion, budget, mayForbid && alternatives.Count == 1))];
            _members.Add(name, sides);
        }

        return sides;
    }

    /// <summary>Says that it has no member of a name, whatever stands beside it.</summary>
    public void Forbid(string name)
    {
        if (_forbidden.Add(name))
        {
            budget.CountCells(CellsOfName + name.Length);
        }
    }

    /// <summary>What was forbidden, as a schema; null for nothing.</summary>
    public JsonObject? Restriction()
    {
        var properties = new JsonObject();
        foreach (string name in _forbidden)
        {
            properties[name] = false;
        }

        foreach ((string name, OverlapSide[] sides) in _members)
        {
            if (sides is [{ MayForbid: true } only] && only.Restriction() is { } inside)
            {
                properties[name] = inside;
            }
        }

        return properties.Count == 0 ? null : new JsonObject { ["properties"] = properties };
    }
}
