// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Arrays: items with schemas of their own, then any number of equal ones.</summary>
internal static class ArrayCompiler
{
    private const int MaxPrefix = 1000;

    public static Expr Compile(SchemaFacts facts, SchemaCompiler schemas, GrammarBuilder grammar)
    {
        var items = new ArrayFacts(facts.Schemas, grammar.Budget);
        int prefix = items.Prefix;
        if (prefix > MaxPrefix)
        {
            throw facts.Place.Error($"'prefixItems' has more than {MaxPrefix} schemas");
        }

        int? maxItems = facts.MaxItems;
        var edges = new List<(int From, Expr? Via, int To)> { (0, Expr.Text("["), 1) };
        var ends = new List<int>();
        int count = 0;
        bool open = true;
        for (; open && count < prefix && count != maxItems; count++)
        {
            AddEnd(count);
            List<SchemaElement> item = items.SchemasAt(count);
            open = !item.Exists(s => s.IsNothing);
            if (open)
            {
                Expr value = Expr.Call(schemas.ValueRule(item));
                edges.Add((count + 1, count == 0 ? value : Expr.Sequence(JsonExpr.Comma, value), count + 2));
            }
        }

        if (open)
        {
            AddEnd(count);
            AddRest(count);
        }

        int last = edges.Max(e => e.To) + 1;
        edges.AddRange(ends.Select(e => (e, (Expr?)Expr.Text("]"), last)));
        return new GraphExpr(last + 1, edges, [last]);

        void AddEnd(int length)
        {
            if (length >= facts.MinItems)
            {
                ends.Add(length + 1);
            }
        }

        void AddRest(int before)
        {
            List<SchemaElement> item = items.SchemasAt(prefix);
            if (before < prefix || item.Exists(s => s.IsNothing) || maxItems <= before)
            {
                return;
            }

            Expr value = Expr.Call(schemas.ValueRule(item));
            int later = grammar.Add(Expr.Sequence(JsonExpr.Comma, value));
            int first = before == 0 ? 1 : 0;
            Expr more = grammar.Count(later, Math.Max(0, facts.MinItems - before - first), maxItems - before - first);
            edges.Add((before + 1, first == 1 ? Expr.Sequence(value, more) : more, before + 2));
            ends.Add(before + 2);
        }
    }
}
