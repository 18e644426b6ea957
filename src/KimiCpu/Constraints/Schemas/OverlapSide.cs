// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Schemas;

/// <summary>One alternative of a branch of <c>oneOf</c>, or of a member of it: what it says, read once, and what it must not have.</summary>
/// <param name="schemas">That hold together.</param>
/// <param name="expansion">Of members.</param>
/// <param name="budget">What it may cost.</param>
/// <param name="mayForbid">Whether what is forbidden holds for this alternative, or for what it is a member of.</param>
internal sealed class OverlapSide(SchemaElement[] schemas, SchemaExpansion expansion, CompileBudget budget, bool mayForbid)
{
    /// <summary>What is kept of a member that must not be there: its place in a table of names.</summary>
    private const int CellsOfName = 12;

    private const int WorkOfLookup = 8;

    private readonly SchemaFacts _facts = new(schemas, budget);
    private readonly Dictionary<string, OverlapSide[]> _members = new(StringComparer.Ordinal);
    private readonly HashSet<string> _forbidden = new(StringComparer.Ordinal);

    /// <summary>The alternatives of a member that may be objects, this one among them.</summary>
    private OverlapSide[] _objects = [];

    public SchemaElement[] Schemas => schemas;

    /// <summary>The only values; null for no such list.</summary>
    public ValueList? Values => _facts.Values;

    public JsonTypes Types => _facts.Types & (Values?.Types ?? JsonTypes.All);

    public ObjectFacts Members => field ??= new ObjectFacts(schemas, budget);

    /// <summary>The alternatives of a required member.</summary>
    public OverlapSide[] MemberOf(string name)
    {
        if (!_members.TryGetValue(name, out OverlapSide[]? sides))
        {
            bool mayForbidInside = mayForbid && _objects.Length < 2;
            sides = [.. expansion.Expand(Members.SchemasOf(name, _ => false)).Select(a => new OverlapSide(a, expansion, budget, mayForbidInside))];
            OverlapSide[] objects = [.. sides.Where(s => (s.Types & JsonTypes.Object) != 0)];
            Array.ForEach(objects, o => o._objects = objects);
            _members.Add(name, sides);
        }

        return sides;
    }

    /// <summary>
    /// Whether <see cref="Forbid"/> takes no value away but of this alternative. A member is told for all of its alternatives what it
    /// must not have, which says nothing of those that are no objects, nor of objects that have no such name themselves.
    /// </summary>
    public bool MayForbid(string name)
    {
        budget.Spend(WorkOfLookup * (1L + _objects.Length));
        return mayForbid && Array.TrueForAll(_objects, o => o == this || (o.Members.IsClosed && !o.Members.IsNamed(name)));
    }

    /// <summary>Says that it has no member of a name, whatever stands beside it.</summary>
    public void Forbid(string name)
    {
        if (_forbidden.Add(name))
        {
            budget.CountCells(CellsOfName);
        }
    }

    /// <summary>What was forbidden, as a schema; null for nothing.</summary>
    /// <param name="sides">Alternatives that it holds for, each of them.</param>
    /// <param name="document">Makes the schema.</param>
    /// <param name="name">What messages call it; asked for by a message only, since there may be a million alternatives, and the text is as long as the names around them.</param>
    public static SchemaElement? Restriction(IEnumerable<OverlapSide> sides, SchemaDocument document, Func<string> name)
    {
        var properties = new Dictionary<string, SchemaElement>(StringComparer.Ordinal);
        foreach (OverlapSide side in sides)
        {
            foreach (string forbidden in side._forbidden)
            {
                properties[forbidden] = document.Nothing;
            }

            foreach ((string member, OverlapSide[] alternatives) in side._members)
            {
                if (Restriction(alternatives, document, name) is { } inside)
                {
                    properties[member] = inside;
                }
            }
        }

        return properties.Count == 0 ? null : document.Beside(new Dictionary<string, SchemaElement>(StringComparer.Ordinal) { ["properties"] = document.Beside(properties, name) }, name);
    }
}
