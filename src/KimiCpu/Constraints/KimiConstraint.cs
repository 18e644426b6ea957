// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Constraints.Masks;
using KimiCpu.Constraints.RegularExpressions;
using KimiCpu.Constraints.Schemas;
using KimiCpu.Tokens;

namespace KimiCpu.Constraints;

/// <summary>
/// What an answer may be: at every token only those are sampled with which the answer can still become whole. It holds for
/// the answer, not for the reasoning before it. Immutable, safe to use from several threads and models; make one per
/// schema and keep it, since what it finds out about a tokenizer's tokens stays with it. An answer that is cut off by
/// <see cref="Generation.GenerationOptions.MaxTokens"/> or a stop sequence is the beginning of an allowed one.
/// </summary>
public sealed class KimiConstraint
{
    private const int MaxSchemaLength = 1_000_000;

    private readonly ConditionalWeakTable<KimiTokenizer, TokenAutomaton> _automata = [];

    private KimiConstraint(Grammar grammar, long work) => (Grammar, TableBytes, Work) = (grammar, grammar.Bytes, work);

    /// <summary>
    /// JSON that is valid by a schema: draft 2020-12 as far as tool definitions use it. Supported: <c>type</c>,
    /// <c>properties</c>, <c>required</c>, <c>additionalProperties</c>, <c>patternProperties</c>, <c>enum</c>, <c>const</c>,
    /// <c>items</c>, <c>prefixItems</c>, <c>minItems</c>, <c>maxItems</c>, <c>minLength</c>, <c>maxLength</c>, <c>pattern</c>, the
    /// common values of <c>format</c>, bounds of numbers, <c>anyOf</c>, <c>oneOf</c> of branches that exclude each other,
    /// <c>allOf</c>, <c>$ref</c> inside the schema, recursion included, <c>nullable</c>. An object that declares properties has
    /// no others unless <c>additionalProperties</c> says so. Members may come in any order, but
    /// required ones with a single value (<c>const</c>, or an <c>enum</c> of one) come first: System.Text.Json reads a derived type only where its discriminator does.
    /// </summary>
    /// <param name="schema">The schema, at most a million characters; it may be disposed of afterwards.</param>
    /// <param name="cancellationToken">Ends the compilation, which takes 2 billion counted steps at most, about ten seconds of a core.</param>
    /// <exception cref="KimiConstraintException">The schema is malformed, uses what is not supported, is satisfied by no value, or is too large.</exception>
    /// <exception cref="ArgumentException">The schema was read from nothing: it is null, or the default of its type.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static KimiConstraint JsonSchema(JsonElement schema, CancellationToken cancellationToken = default) => schema.ValueKind != JsonValueKind.Undefined
        ? Compile(schema, objectOnly: false, new CompileBudget(cancellationToken))
        : throw new ArgumentException("A JSON Schema is an object, true or false; this element was never read from anything.", nameof(schema));

    /// <inheritdoc cref="JsonSchema(JsonElement, CancellationToken)"/>
    /// <param name="schema">The schema as JSON text, at most a million characters.</param>
    /// <param name="cancellationToken">Ends the compilation, which takes 2 billion counted steps at most, about ten seconds of a core.</param>
    public static KimiConstraint JsonSchema(string schema, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(schema);
        RefuseLong(schema.Length);
        RefuseHalfPairs(schema, "The JSON Schema");
        try
        {
            using JsonDocument document = JsonDocument.Parse(schema);
            return JsonSchema(document.RootElement, cancellationToken);
        }
        catch (JsonException e)
        {
            throw new KimiConstraintException($"The JSON Schema is not valid JSON: {e.Message}", e);
        }
    }

    /// <summary>Any JSON object.</summary>
    public static KimiConstraint Json() => JsonSchema("""{"type":"object"}""");

    /// <summary>
    /// Text that a pattern matches as a whole. The syntax is what ECMAScript and .NET share, without look-around, back
    /// references, word boundaries and options; <c>\d</c> and <c>\w</c> are ASCII, as in ECMAScript.
    /// </summary>
    /// <param name="pattern">The pattern; <c>^</c> and <c>$</c> at its edges change nothing.</param>
    /// <param name="cancellationToken">Ends the compilation, which takes 2 billion counted steps at most, about ten seconds of a core.</param>
    /// <exception cref="KimiConstraintException">The pattern is malformed, uses what is not supported, matches nothing, or is too large.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static KimiConstraint Regex(string pattern, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        RefuseHalfPairs(pattern, "The pattern");
        var grammar = new GrammarBuilder(new CompileBudget(cancellationToken));
        int root = grammar.Reserve();
        grammar.Define(root, new RegexCompiler(Utf8Expr.Of, grammar.Budget, grammar).Whole(pattern));
        return Of(grammar.Build(root), grammar.Budget);
    }

    /// <summary>One of some texts, exactly.</summary>
    /// <param name="choices">At least one.</param>
    /// <exception cref="KimiConstraintException">There are none, or their texts are too large.</exception>
    /// <exception cref="ArgumentException">One of them is null.</exception>
    public static KimiConstraint Choice(IEnumerable<string> choices)
    {
        ArgumentNullException.ThrowIfNull(choices);
        string[] texts = [.. choices.Distinct(StringComparer.Ordinal).Select(c => c ?? throw new ArgumentException("A choice is no text.", nameof(choices)))];
        Array.ForEach(texts, t => RefuseHalfPairs(t, "A choice"));
        if (texts.Length == 0)
        {
            throw new KimiConstraintException("A choice needs at least one text.");
        }

        var grammar = new GrammarBuilder(new CompileBudget(CancellationToken.None));
        return Of(grammar.Build(grammar.Add(Expr.Choice([.. texts.Select(Expr.Text)]))), grammar.Budget);
    }

    /// <summary>An object that is valid by the schema of a tool's parameters.</summary>
    internal static KimiConstraint ToolArguments(JsonElement parameters, CompileBudget budget) => Compile(parameters, objectOnly: true, budget);

    /// <summary>Bytes that the constraint takes with all that it has found out about tokens, roughly. They grow while it is used: whoever keeps many constraints limits their sum.</summary>
    public long Bytes => TableBytes + _automata.Sum(a => a.Value.CachedBytes);

    /// <summary>The texts that it allows.</summary>
    internal Grammar Grammar { get; }

    /// <summary>The part of <see cref="Bytes"/> that is there from the beginning.</summary>
    internal long TableBytes { get; }

    /// <summary>Steps that the compilation took; see <see cref="CompileBudget"/>.</summary>
    internal long Work { get; }

    /// <summary>The constraint for the tokens of one tokenizer.</summary>
    internal TokenAutomaton For(KimiTokenizer tokenizer) => _automata.GetValue(tokenizer, t => new TokenAutomaton(Grammar, t));

    /// <summary>UTF-8 has no such characters; without this they would become others.</summary>
    private static void RefuseHalfPairs(string text, string what)
    {
        int at = 0;
        while (Rune.DecodeFromUtf16(text.AsSpan(at), out _, out int consumed) == OperationStatus.Done)
        {
            at += consumed;
        }

        if (at < text.Length)
        {
            throw new KimiConstraintException($"{what} has half of a surrogate pair at character {at:N0}, which is no text. Write both halves.");
        }
    }

    private static void RefuseLong(int length)
    {
        if (length > MaxSchemaLength)
        {
            throw new KimiConstraintException($"A JSON Schema has at most {MaxSchemaLength:N0} characters; this one has {length:N0}.");
        }
    }

    private static KimiConstraint Compile(JsonElement schema, bool objectOnly, CompileBudget budget)
    {
        RefuseLong(Encoding.UTF8.GetCharCount(JsonMarshal.GetRawUtf8Value(schema)));
        return Of(SchemaCompiler.Compile(schema, objectOnly, budget), budget);
    }

    private static KimiConstraint Of(Grammar grammar, CompileBudget budget) => grammar.HasTexts
        ? new KimiConstraint(grammar, budget.Work)
        : throw new KimiConstraintException(
            $"No text satisfies the constraint, or only texts that are nested more than {Grammar.MaxNesting} levels deep. Look for required properties that can have no value, and for bounds that exclude each other.");
}
