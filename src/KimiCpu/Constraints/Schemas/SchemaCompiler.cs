// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text.Json;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Constraints.RegularExpressions;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// Makes a grammar from a JSON Schema. Each set of schemas that hold together becomes one rule for the value, and beside it
/// one for its forms as an object and one for those as an array, which nest.
/// </summary>
internal sealed class SchemaCompiler
{
    private const int MaxPatternLength = 4096;

    /// <summary>For one text.</summary>
    private const int MaxPatterns = 32;

    /// <summary>In a message.</summary>
    private const int MostPlaces = 3;

    /// <summary>For a listed value or a schema that is looked at.</summary>
    private const int WorkOfValue = 32;

    /// <summary>What is kept of a listed value until its rule is made, without its characters.</summary>
    private const int CellsOfValue = 24;

    /// <summary>What is kept of one of the schemas that a rule is made of: the schema and its number, as text.</summary>
    private const int CellsOfSchema = 6;

    private readonly SchemaDocument _document;
    private readonly GrammarBuilder _grammar;
    private readonly SchemaExpansion _expansion;
    private readonly ObjectCompiler _objects;
    private readonly ValueCheck _listed;
    private readonly Dictionary<string, (int Rule, IReadOnlyList<SchemaElement> Schemas)> _values = [];
    private readonly Queue<(int Rule, IReadOnlyList<SchemaElement> Schemas)> _open = new();
    private readonly Dictionary<string, Dfa> _patterns = [];
    private int _freeString = -1;
    private int _freeCharacter = -1;

    private SchemaCompiler(SchemaDocument document, CompileBudget budget)
    {
        _document = document;
        _grammar = new GrammarBuilder(budget);
        _expansion = new SchemaExpansion(document, budget);
        _objects = new ObjectCompiler(this, _grammar);
        _listed = new ValueCheck(_expansion, budget);
    }

    /// <param name="schema">An object, true or false.</param>
    /// <param name="objectOnly">Whether the value must be an object whatever the schema says.</param>
    /// <param name="budget">What it may cost.</param>
    /// <exception cref="KimiConstraintException">The schema is malformed, not supported, satisfied by no value, or too large.</exception>
    public static Grammar Compile(JsonElement schema, bool objectOnly, CompileBudget budget)
    {
        SchemaText.Check(schema, budget);
        var compiler = new SchemaCompiler(new SchemaDocument(schema, budget), budget);
        List<SchemaElement> schemas = [compiler._document.Root];
        if (objectOnly)
        {
            schemas.Add(compiler._document.Beside("""{"type":"object"}""", "object"));
        }

        return compiler.Run(compiler.ValueRule(schemas));
    }

    /// <summary>The rule of a value that obeys some schemas together.</summary>
    public int ValueRule(IReadOnlyList<SchemaElement> schemas)
    {
        _grammar.Budget.Spend(WorkOfValue * (long)schemas.Count);
        string key = SchemaElement.KeyOf(schemas);
        if (!_values.TryGetValue(key, out (int Rule, IReadOnlyList<SchemaElement> Schemas) value))
        {
            _grammar.Budget.CountCells(CellsOfSchema * (long)schemas.Count);
            value = (_grammar.Reserve(), schemas);
            _values.Add(key, value);
            _open.Enqueue(value);
        }

        return value.Rule;
    }

    /// <summary>A pattern as an automaton over the inside of strings in their one way.</summary>
    public Dfa PatternOf(string pattern, bool whole)
    {
        _grammar.Budget.Spend(CompileBudget.WorkOfLookup(pattern));
        string key = (whole ? "=" : "~") + pattern;
        if (!_patterns.TryGetValue(key, out Dfa? dfa))
        {
            var compiler = new RegexCompiler(JsonExpr.Character, _grammar.Budget);
            dfa = DfaBuilder.Build(whole ? compiler.Whole(pattern) : compiler.Search(pattern), _grammar.Budget);
            _patterns.Add(key, dfa);
        }

        return dfa;
    }

    private Grammar Run(int root)
    {
        while (_open.TryDequeue(out (int Rule, IReadOnlyList<SchemaElement> Schemas) next))
        {
            DefineValue(next.Rule, next.Schemas);
        }

        Grammar grammar = _grammar.Build(root);
        return grammar.HasTexts ? grammar : throw new KimiConstraintException(
            $"JSON Schema, at {PlacesWithoutTexts(grammar)}: No text satisfies it, or only texts that are nested more than {Grammar.MaxNesting} levels deep. Look for required properties that can have no value, and for bounds that exclude each other.");
    }

    /// <summary>The innermost schemas that no value satisfies, of which it comes that none satisfies the whole.</summary>
    private string PlacesWithoutTexts(Grammar grammar)
    {
        SchemaElement[] places = [.. _values.Values.Where(v => !grammar.CanEnd(v.Rule)).SelectMany(v => v.Schemas).Where(s => s.Json.ValueKind != JsonValueKind.True && _document.Has(s)).Distinct()];
        HashSet<SchemaElement> outer = [.. places.SelectMany(p => p.Ancestors())];
        return string.Join(" and ", places.Where(p => !outer.Contains(p)).Select(p => p.Path).Take(MostPlaces).DefaultIfEmpty("#"));
    }

    private void DefineValue(int rule, IReadOnlyList<SchemaElement> schemas)
    {
        var scalars = new List<Expr>();
        var objects = new List<Expr>();
        var arrays = new List<Expr>();
        var listed = new HashSet<JsonElement>(RawValueComparer.Instance);
        foreach (SchemaElement[] alternative in _expansion.Expand(schemas))
        {
            var facts = new SchemaFacts(alternative, _grammar.Budget);
            _grammar.Budget.Spend(WorkOfValue * (1L + (facts.Values?.Items.Count ?? 0)));
            if (facts.Values is not null)
            {
                AddListed(listed, facts);
                continue;
            }

            scalars.AddRange(Scalars(facts));
            if ((facts.Types & JsonTypes.Object) != 0)
            {
                objects.Add(_objects.Compile(new ObjectFacts(facts.Schemas, _grammar.Budget)));
            }

            if ((facts.Types & JsonTypes.Array) != 0)
            {
                arrays.Add(ArrayCompiler.Compile(facts, this, _grammar));
            }
        }

        AddNesting(scalars, objects, 1);
        AddNesting(scalars, arrays, 1);
        foreach (IGrouping<int, JsonElement> values in listed.GroupBy(JsonExpr.Levels))
        {
            AddNesting(scalars, [.. values.Select(JsonExpr.Value)], values.Key);
        }

        _grammar.Define(rule, Expr.Choice([.. scalars]));
    }

    /// <summary>All alternatives may list the same values, which need be written once.</summary>
    private void AddListed(HashSet<JsonElement> listed, SchemaFacts facts)
    {
        foreach (JsonElement value in _listed.Valid(facts))
        {
            int length = JsonMarshal.GetRawUtf8Value(value).Length;
            _grammar.Budget.Spend(WorkOfValue + length);
            if (listed.Add(value))
            {
                _grammar.Budget.CountCells(CellsOfValue + (length / sizeof(int)));
            }
        }
    }

    private void AddNesting(List<Expr> branches, List<Expr> nested, int levels)
    {
        if (levels == 0)
        {
            branches.AddRange(nested);
        }
        else if (nested.Count > 0)
        {
            int rule = _grammar.Reserve();
            _grammar.Define(rule, Expr.Choice([.. nested]), levels);
            branches.Add(Expr.Call(rule));
        }
    }

    private IEnumerable<Expr> Scalars(SchemaFacts facts)
    {
        if ((facts.Types & JsonTypes.Null) != 0)
        {
            yield return Expr.Text("null");
        }

        if ((facts.Types & JsonTypes.Boolean) != 0)
        {
            yield return Expr.Choice(Expr.Text("true"), Expr.Text("false"));
        }

        if ((facts.Types & JsonTypes.Number) == JsonTypes.Number)
        {
            yield return NumberExpr.Number(facts.Min, facts.Max);
        }
        else if ((facts.Types & JsonTypes.Integer) != 0)
        {
            yield return NumberExpr.Integer(facts.Min, facts.Max);
        }

        if ((facts.Types & JsonTypes.String) != 0)
        {
            yield return StringOf(facts);
        }
    }

    private Expr StringOf(SchemaFacts facts)
    {
        bool bounded = facts.MinLength > 0 || facts.MaxLength is not null;
        string[] patterns = [.. facts.Patterns.Select(p => p.Pattern).Distinct(StringComparer.Ordinal)];
        string[] formats = [.. facts.Formats.Distinct(StringComparer.Ordinal)];
        if (patterns.Length + formats.Length == 0)
        {
            return bounded ? Expr.Sequence(JsonExpr.Quote, _grammar.Count(FreeCharacter(), facts.MinLength, facts.MaxLength), JsonExpr.Quote) : Expr.Call(FreeString());
        }

        try
        {
            if (patterns.Length + formats.Length == 1 && !bounded)
            {
                var compiler = new RegexCompiler(JsonExpr.Character, _grammar.Budget, _grammar);
                Expr inside = patterns.Length > 0 ? compiler.Search(patterns[0]) : compiler.Whole(formats[0]);
                return Expr.Sequence(JsonExpr.Quote, inside, JsonExpr.Quote);
            }

            if (patterns.Length + formats.Length > MaxPatterns)
            {
                throw new KimiConstraintException($"A text has at most {MaxPatterns} patterns and formats together; this one has {patterns.Length + formats.Length:N0}. Use fewer, or check the value afterwards.");
            }

            List<Dfa> parts = [.. patterns.Select(p => PatternOf(p, whole: false)), .. formats.Select(f => PatternOf(f, whole: true))];
            if (bounded)
            {
                parts.Add(LengthOf(facts));
            }

            return Expr.Sequence(JsonExpr.Quote, DfaProduct.Intersection([.. parts], _grammar.Budget), JsonExpr.Quote);
        }
        catch (KimiConstraintException e)
        {
            throw (facts.Patterns.Count > 0 ? facts.Patterns[0].Schema : facts.Place).Error(e);
        }
    }

    private Dfa LengthOf(SchemaFacts facts)
    {
        if (facts.MinLength > MaxPatternLength || facts.MaxLength > MaxPatternLength)
        {
            throw new KimiConstraintException($"Beside 'pattern' or 'format', 'minLength' and 'maxLength' are supported up to {MaxPatternLength:N0}.");
        }

        // A count of all characters has a dozen states for each, of which a format in ASCII uses one.
        Expr character = facts.Patterns.Count == 0 && facts.Formats.TrueForAll(FormatPatterns.IsAscii) ? JsonExpr.PlainAscii : JsonExpr.Character(CodePointSet.All);
        return facts.MaxLength < facts.MinLength
            ? DfaBuilder.Build(Expr.Never, _grammar.Budget)
            : DfaBuilder.Build(Expr.Repeat(character, facts.MinLength, facts.MaxLength), _grammar.Budget);
    }

    private int FreeString() => _freeString >= 0 ? _freeString : _freeString = _grammar.Add(Expr.Sequence(JsonExpr.Quote, Expr.Repeat(JsonExpr.FreeCharacter, 0, null), JsonExpr.Quote));

    private int FreeCharacter() => _freeCharacter >= 0 ? _freeCharacter : _freeCharacter = _grammar.Add(JsonExpr.FreeCharacter);
}
