// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Constraints.RegularExpressions;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// Objects: declared members in any order, each at most once; others after the languages of their names, which leave out
/// the declared ones, so that no declared member escapes its schema.
/// </summary>
internal sealed class ObjectCompiler(SchemaCompiler schemas, GrammarBuilder grammar)
{
    public Expr Compile(ObjectFacts facts)
    {
        Dfa[] patterns = [.. facts.Patterns.Select(p => PatternOf(p.Schema, p.Pattern))];
        var named = new List<(int First, int Later, bool Required)>();
        foreach (string name in facts.Names)
        {
            byte[] escaped = Encoding.UTF8.GetBytes(JsonExpr.Escape(name));
            List<SchemaElement> member = facts.SchemasOf(name, i => patterns[i].Matches(escaped));
            bool required = facts.Required.Contains(name);
            if (facts.IsClosed && member.Count == 0)
            {
                throw facts.Place.Error($"'{name}' is required but not among the properties; declare it");
            }

            if (!member.Exists(s => s.IsNothing))
            {
                (int first, int later) = Member(Expr.Text(JsonExpr.Escape(name)), member);
                named.Add((first, later, required));
            }
            else if (required)
            {
                return Expr.Never;
            }
        }

        return Expr.Sequence(Expr.Text("{"), grammar.Members(named, Others(facts, patterns)), Expr.Text("}"));
    }

    private Dfa PatternOf(SchemaElement schema, string pattern)
    {
        try
        {
            return schemas.PatternOf(pattern, whole: false);
        }
        catch (KimiConstraintException e)
        {
            throw schema.Error(e);
        }
    }

    private (int First, int Later) Member(Expr name, IReadOnlyList<SchemaElement> value)
    {
        int first = grammar.Add(Expr.Sequence(JsonExpr.Quote, name, JsonExpr.Quote, JsonExpr.Colon, Expr.Call(schemas.ValueRule(value))));
        return (first, grammar.Add(Expr.Sequence(JsonExpr.Comma, Expr.Call(first))));
    }

    /// <summary>One kind of member for every set of patterns that a name can match.</summary>
    private List<(int First, int Later)> Others(ObjectFacts facts, Dfa[] patterns)
    {
        var result = new List<(int, int)>();
        if (facts.IsClosed && patterns.Length == 0)
        {
            return result;
        }

        Dfa any = DfaBuilder.Build(Expr.Repeat(JsonExpr.Character(CodePointSet.All), 0, null), grammar.Budget);
        Dfa declared = DfaBuilder.Build(Expr.Choice([.. facts.Names.Select(n => Expr.Text(JsonExpr.Escape(n)))]), grammar.Budget);
        var names = new DfaProduct([any, declared, .. patterns], grammar.Budget);
        foreach (ulong label in names.Labels.Where(l => (l & 2) == 0))
        {
            List<SchemaElement> member = facts.SchemasOf(null, i => ((label >> (i + 2)) & 1) != 0);
            bool matchesNone = label == 1;
            if (!member.Exists(s => s.IsNothing) && !(matchesNone && facts.IsClosed))
            {
                result.Add(Member(names.Where(l => l == label), member));
            }
        }

        return result;
    }
}
