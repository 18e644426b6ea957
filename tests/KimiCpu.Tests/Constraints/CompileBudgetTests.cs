// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Constraints.RegularExpressions;
using KimiCpu.Constraints.Schemas;

namespace KimiCpu.Tests.Constraints;

/// <summary>What a compilation may cost is counted, so that it is the same on every machine and at every load.</summary>
[TestFixture]
internal sealed class CompileBudgetTests
{
    /// <summary>The subsets of its states are few, but each is nearly as large as the pattern: quadratic, and short to write.</summary>
    private const string Explosive = "((a|b|c|ab|bc|abc)?){800}";

    [Test]
    public void The_same_schema_takes_the_same_work_each_time()
    {
        using JsonDocument schema = JsonDocument.Parse("""{"type":"object","properties":{"at":{"format":"date-time"},"unit":{"enum":["c","f"]},"n":{"type":"number","minimum":-1.5}},"required":["at"]}""");
        long[] works = [.. Enumerable.Range(0, 3).AsParallel().Select(_ => Measure(b => SchemaCompiler.Compile(schema.RootElement, objectOnly: false, b)))];
        Assert.That(works, Is.All.EqualTo(works[0]).And.All.InRange(10_000, CompileBudget.MaxWork / 1000));
    }

    [TestCase("uri", 0, 5)]
    [TestCase("uri-reference", 0, 10)]
    [TestCase("uri", 1000, 200)]
    [TestCase("uri", 2083, 200)]
    [TestCase("uri-reference", 1000, 400)]
    [TestCase("email", 320, 200)]
    [TestCase("json-pointer", 200, 200)]
    public void Formats_are_cheap(string format, int maxLength, long millions)
    {
        JsonElement schema = JsonElement.Parse($$"""{"type":"string","format":"{{format}}"{{(maxLength > 0 ? $",\"maxLength\":{maxLength}" : "")}}}""");
        Assert.That(Measure(b => SchemaCompiler.Compile(schema, objectOnly: false, b)), Is.LessThan(millions * 1_000_000));
    }

    /// <summary>What each branch must not have grows with the square of their number, but little is kept of each name.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void As_many_variants_as_a_oneOf_has_are_within_the_budget()
    {
        JsonElement open = JsonElement.Parse(Variants.OfOpenObject(500));
        Assert.That(Measure(b => SchemaCompiler.Compile(open, objectOnly: false, b)), Is.LessThan(1_000_000_000));
        JsonElement two = JsonElement.Parse($$$"""{"type":"object","properties":{"a":{{{Variants.OfObject(500)}}},"b":{{{Variants.OfObject(500, 500)}}}}}""");
        Assert.That(Measure(b => SchemaCompiler.Compile(two, objectOnly: false, b)), Is.LessThan(1_000_000_000));
    }

    /// <summary>From each of its parts all others can be reached without reading anything.</summary>
    [Test, CancelAfter(60_000)]
    public void Long_rows_of_parts_that_may_be_empty_are_looked_at_once() =>
        Assert.That(Measure(b => CompileGrammar("(a{0,9}){10000}", b)), Is.LessThan(30_000_000));

    /// <summary>A state may have thousands, which are looked at in each sweep.</summary>
    [Test]
    public void Calls_that_are_looked_at_are_counted()
    {
        Rule[] rules = [Calling(Enumerable.Repeat(1, 100_000)), Calling([])];
        Assert.That(Measure(b => _ = new Grammar(rules, 0, b)), Is.GreaterThan(1_000_000));
    }

    /// <summary>The least level of one becomes known with that of the one before it, while others wait that have nothing to do with them.</summary>
    [Test]
    public void Rules_are_looked_at_again_only_where_one_that_they_call_has_changed()
    {
        Rule[] rules = [Calling([]), .. Enumerable.Range(0, 300).Select(i => Calling([i])), Calling(Enumerable.Repeat(0, 100_000))];
        Assert.That(Measure(b => _ = new Grammar(rules, 0, b)), Is.LessThan(3_000_000));
        Assert.That(rules.Select(r => r.Height(0)), Is.EqualTo(Enumerable.Range(0, 301).Append(1)));
    }

    /// <summary>Each letter leads to a state of its own, with hundreds of ways to read what came before it.</summary>
    [Test, CancelAfter(120_000)]
    public void Reading_a_listed_text_takes_the_work_of_all_its_readings(CancellationToken cancellationToken)
    {
        var random = new Random(3);
        string text = string.Concat(Enumerable.Range(0, 5000).Select(_ => (char)random.Next('a', 'z' + 1)));
        using JsonDocument schema = JsonDocument.Parse($$"""{"enum":["{{text}}"],"pattern":"(.{0,100}[aeiou ].{0,100}[^aeiou ]){20}"}""");
        var budget = new CompileBudget(cancellationToken);
        budget.Spend(CompileBudget.MaxWork - 50_000_000);
        Assert.That(() => SchemaCompiler.Compile(schema.RootElement, objectOnly: false, budget), Throws.InstanceOf<KimiConstraintException>().With.Message.Contains("2,000,000,000 steps"));
    }

    private static readonly TestCaseData[] s_long =
    [
        new TestCaseData("\"minLength\":0." + new string('0', 100_000)).SetArgDisplayNames("number"),
        new TestCaseData("\"type\":\"object\",\"properties\":{\"" + new string('n', 500_000) + "\":false}").SetArgDisplayNames("name"),
        new TestCaseData("\"enum\":[\"" + new string('x', 100_000) + "\"]").SetArgDisplayNames("text"),
        new TestCaseData("\"enum\":[{" + string.Join(',', Enumerable.Repeat("\"\":0", 5000)) + "}],\"required\":[\"a\"]").SetArgDisplayNames("members"),
        new TestCaseData("\"allOf\":[{\"const\":{" + string.Join(',', Enumerable.Repeat("\"\":0", 5000)) + "}},{\"const\":1}]").SetArgDisplayNames("listed members"),
    ];

    /// <summary>It may be as long as the schema, and the alternatives as many as there may be.</summary>
    [TestCaseSource(nameof(s_long))]
    public void What_is_read_for_each_alternative_is_counted_for_each(string keywords)
    {
        JsonElement schema = JsonElement.Parse("{\"anyOf\":[true," + string.Join(',', Enumerable.Repeat("{\"$ref\":\"#/$defs/a\"}", 100)) + "],\"$defs\":{\"a\":{" + keywords + "}}}");
        Assert.That(Measure(b => SchemaCompiler.Compile(schema, objectOnly: false, b)), Is.GreaterThan(5_000_000));
    }

    /// <summary>Thousands of them may hold together, and an array may have a thousand places.</summary>
    [Test, CancelAfter(60_000)]
    public void Places_of_an_array_are_counted_for_each_schema_that_names_places()
    {
        Assert.That(Places(1000, "{}") - Places(10, "{}"), Is.LessThan(20_000_000), "they name none");
        Assert.That(Places(1000, "{\"prefixItems\":[true]}") - Places(10, "{\"prefixItems\":[true]}"), Is.GreaterThan(40_000_000));

        static long Places(int count, string leaf)
        {
            JsonElement schema = JsonElement.Parse("{\"type\":\"array\",\"prefixItems\":[" + string.Join(',', Enumerable.Repeat("true", count)) + "],\"allOf\":[" + AllOf.Of(Enumerable.Repeat(leaf, 3000)) + "]}");
            return Measure(b => SchemaCompiler.Compile(schema, objectOnly: false, b));
        }
    }

    /// <summary>For each of the list's alternatives the item is judged by each of its own: in all they would take hours.</summary>
    [Test, CancelAfter(120_000)]
    public void Judging_a_listed_value_takes_the_work_of_what_is_read([Values("members", "text")] string what, CancellationToken cancellationToken)
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        (string item, string keywords) = what == "members"
            ? ("{" + List(119, i => $"\"a{i}\":0") + string.Concat(Enumerable.Repeat(",\"\":0", 40_000)) + "}", "\"required\":[" + List(119, i => $"\"a{i}\"") + ",\"missing\"]")
            : ("\"" + new string('x', 800_000) + "\"", "\"minLength\":900000");
        JsonElement schema = JsonElement.Parse("{\"enum\":[[" + item + "]],\"anyOf\":[" + List(500, _ => "{\"$ref\":\"#/$defs/o\"}") + "],\"$defs\":{\"o\":{\"items\":{\"$ref\":\"#/$defs/i\"}},\"i\":{\"anyOf\":[" + List(500, _ => "{\"$ref\":\"#/$defs/r\"}") + "]},\"r\":{" + keywords + "}}}");
        var budget = new CompileBudget(cancellationToken);
        budget.Spend(CompileBudget.MaxWork - 200_000_000);
        Assert.That(() => SchemaCompiler.Compile(schema, objectOnly: false, budget), Throws.InstanceOf<KimiConstraintException>().With.Message.Contains("2,000,000,000 steps"));
    }

    [Test]
    public void What_grows_without_measure_is_refused()
    {
        var budget = new CompileBudget(CancellationToken.None);
        budget.Spend(CompileBudget.MaxWork - 20_000_000);
        Assert.That(() => Compile(Explosive, budget), Throws.InstanceOf<KimiConstraintException>().With.Message.Contains("2,000,000,000 steps"));
        Assert.That(budget.Work, Is.LessThan(CompileBudget.MaxWork + 1_000_000), "it is noticed soon");
    }

    [Test]
    public void It_can_be_cancelled_at_any_time()
    {
        using var cancellation = new CancellationTokenSource();
        var budget = new CompileBudget(cancellation.Token);
        Compile("a|b", budget);
        cancellation.Cancel();
        Assert.That(() => Compile(Explosive, budget), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => KimiConstraint.Regex(Explosive, cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
    }

    private static long Measure(Action<CompileBudget> compile)
    {
        var budget = new CompileBudget(CancellationToken.None);
        compile(budget);
        return budget.Work;
    }

    /// <summary>A rule that reads nothing, is a level deeper, and ends behind any of its calls, or at once without calls.</summary>
    private static DfaRule Calling(IEnumerable<int> rules)
    {
        (int, int)[] calls = [.. rules.Select(r => (r, 1))];
        return new DfaRule(new Dfa { ClassOf = new byte[256], ClassCount = 1, Next = [Dfa.Dead, Dfa.Dead], Accepts = [calls.Length == 0, true], Calls = [calls.Length == 0 ? null : calls, null] }, 1);
    }

    private static void Compile(string pattern, CompileBudget budget) => DfaBuilder.Build(new RegexCompiler(Utf8Expr.Of, budget).Whole(pattern), budget);

    private static void CompileGrammar(string pattern, CompileBudget budget)
    {
        var grammar = new GrammarBuilder(budget);
        grammar.Build(grammar.Add(new RegexCompiler(Utf8Expr.Of, budget, grammar).Whole(pattern)));
    }
}
