// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Grammars;
using KimiCpu.Constraints.RegularExpressions;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// Objects: declared members in any order, each at most once; others after the languages of their names, which leave out
/// the declared ones, so that no declared member escapes its schema. Required ones with a single value come first: they tell readers the object's kind, and
/// System.Text.Json reads no derived type whose discriminator comes later.
/// </summary>
internal sealed class ObjectCompiler(SchemaCompiler schemas, GrammarBuilder grammar)
{
    /// <summary>For a name that a set of names is found by.</summary>
    private const int WorkOfName = 64;

    private readonly EscapedTexts _escaped = new(grammar.Budget);
    private readonly Dictionary<string, DfaProduct> _names = [];
    private readonly Dictionary<(DfaProduct Names, ulong Label, int Value), (int First, int Later)> _others = [];

    public Expr Compile(ObjectFacts facts)
    {
        Dfa[] patterns = [.. facts.Patterns.Select(p => PatternOf(p.Schema, p.Pattern))];
        var named = new List<(int First, int Later, bool Required, bool Leads)>();
        foreach (string name in facts.Names)
        {
            byte[] escaped = _escaped.Of(name).Bytes;
            List<SchemaElement> member = facts.SchemasOf(name, i => Matches(patterns[i], escaped));
            bool required = facts.Required.Contains(name);
            if (facts.IsClosed && member.Count == 0)
            {
                throw facts.Place.Error($"'{Excerpt.Of(name)}' is required but not among the properties; declare it");
            }

            if (!member.Exists(s => s.IsNothing))
            {
                (int first, int later) = Member(new LiteralExpr(escaped), schemas.ValueRule(member));
                named.Add((first, later, required, required && member.Exists(IsOneValue)));
            }
            else if (required)
            {
                return Expr.Never;
            }
        }

        return Expr.Sequence(Expr.Text("{"), grammar.Members(named, Others(facts, patterns)), Expr.Text("}"));
    }

    private static bool IsOneValue(SchemaElement schema) => schema.Member("const") is not null || schema.Member("enum") is { Items.Count: 1 };

    private bool Matches(Dfa pattern, byte[] name)
    {
        grammar.Budget.Spend(name.Length);
        return pattern.Matches(name);
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

    private (int First, int Later) Member(Expr name, int value)
    {
        int first = grammar.Add(Expr.Sequence(JsonExpr.Quote, name, JsonExpr.Quote, JsonExpr.Colon, Expr.Call(value)));
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

        DfaProduct names = NamesOf(facts, patterns);
        foreach (ulong label in names.Labels.Where(l => (l & 2) == 0))
        {
            List<SchemaElement> member = facts.SchemasOf(null, i => ((label >> (i + 2)) & 1) != 0);
            bool matchesNone = label == 1;
            if (!member.Exists(s => s.IsNothing) && !(matchesNone && facts.IsClosed))
            {
                result.Add(Other(names, label, schemas.ValueRule(member)));
            }
        }

        return result;
    }

    private (int First, int Later) Other(DfaProduct names, ulong label, int value)
    {
        if (!_others.TryGetValue((names, label, value), out (int, int) member))
        {
            member = Member(names.Where(l => l == label), value);
            _others.Add((names, label, value), member);
        }

        return member;
    }

    /// <summary>
    /// All names, with which of them are declared and what patterns they match. Variants of one object declare the same names, as each
    /// one is told which of the others it must not have, so there is one automaton for all of them: its size times their number would be too much.
    /// </summary>
    private DfaProduct NamesOf(ObjectFacts facts, Dfa[] patterns)
    {
        EscapedText[] declared = [.. facts.Names.Select(_escaped.Of).OrderBy(n => n.Text, StringComparer.Ordinal)];
        string[] patternTexts = [.. facts.Patterns.Select(p => _escaped.Of(p.Pattern).Text)];
        grammar.Budget.Spend((WorkOfName * (long)declared.Length) + declared.Sum(n => (long)n.Text.Length) + patternTexts.Sum(p => (long)p.Length));

        // No escaped name has a line break.
        string key = string.Join('\n', [.. declared.Select(n => $"n{n.Text}"), .. patternTexts.Select(p => $"p{p}")]);
        if (!_names.TryGetValue(key, out DfaProduct? names))
        {
            Dfa any = DfaBuilder.Build(Expr.Repeat(JsonExpr.Character(CodePointSet.All), 0, null), grammar.Budget);
            names = new DfaProduct([any, DfaBuilder.Build(Expr.Choice([.. declared.Select(n => new LiteralExpr(n.Bytes))]), grammar.Budget), .. patterns], grammar.Budget);
            _names.Add(key, names);
        }

        return names;
    }
}
