// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;
using static KimiCpu.Tests.Constraints.ExampleSchemas;

namespace KimiCpu.Tests.Constraints;

/// <summary>Large schemas: what they may cost, and where they end.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SchemaSizeTests
{
    [Test]
    public void Hostile_schemas_end_with_an_exception()
    {
        string deep = string.Concat(Enumerable.Repeat("""{"items":""", 70)) + "true" + new string('}', 70);
        string product = "{\"allOf\":[" + string.Join(',', Enumerable.Range(0, 12).Select(i => $$"""{"anyOf":[{"required":["a{{i}}"]},{"required":["b{{i}}"]}]}""")) + "]}";
        string wide = "{\"type\":\"object\",\"properties\":{" + string.Join(',', Enumerable.Range(0, 500).Select(i => $"\"p{i}\":{{}}")) + "}}";
        string counts = """{"type":"string","pattern":"^((a{1,100}b{1,100}){1,100}c{1,100}){1,9000}$"}""";
        string ambiguous = """{"type":"string","pattern":"^(a|b)*a(a|b){30}$"}""";
        foreach (string schema in new[] { deep, product, wide, counts, ambiguous })
        {
            Assert.That(() => KimiConstraint.JsonSchema(schema), Throws.TypeOf<KimiConstraintException>(), schema);
        }
    }

    /// <summary>What grows with the square of a schema's size would take hours here.</summary>
    [Test, CancelAfter(120_000)]
    public void Long_lists_end_within_the_budget(CancellationToken cancellationToken)
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        string[] refused =
        [
            "{\"allOf\":[{\"enum\":[" + List(40_000, i => $"\"a{i:d5}\"") + "]},{\"enum\":[" + List(40_000, i => $"\"b{i:d5}\"") + "]}]}",
            "{\"oneOf\":[{\"enum\":[" + List(40_000, i => $"\"a{i:d5}\"") + "]},{\"enum\":[" + List(40_000, i => $"\"b{i:d5}\"") + "]}]}",
            "{\"oneOf\":[" + List(20_000, i => $"{{\"const\":{i}}}") + "]}",
            "{\"properties\":{" + List(60_000, i => $"\"p{i}\":{{}}") + "}}",
            "{\"required\":[" + List(90_000, i => $"\"p{i}\"") + "]}",
            """{"type":"string","pattern":"^(a?){100000}$"}""",
        ];
        foreach (string schema in refused)
        {
            Assert.That(() => Task.Run(() => KimiConstraint.JsonSchema(schema), cancellationToken).WaitAsync(cancellationToken), Throws.TypeOf<KimiConstraintException>(), schema[..Math.Min(60, schema.Length)]);
        }
    }

    /// <summary>Each of these took minutes or gigabytes for next to nothing of the budget.</summary>
    [Test, CancelAfter(120_000)]
    public void What_is_read_is_counted_or_read_once([Values(0, 1, 2, 3, 4, 5)] int form, CancellationToken cancellationToken)
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        string schema = form switch
        {
            0 => "{\"enum\":[" + List(60_000, i => $"1e{i + 29}") + "]}",
            1 => "{\"enum\":[" + List(40_000, i => $"{{\"k{i}\":0,\"k{i}\":0}}") + "]}",
            2 => "{\"allOf\":[{\"enum\":[" + List(60_000, i => $"1e{i + 29}") + "]},{\"enum\":[1e29,1,2e1]}]}",
            3 => ManyKeywords(List(100_000, _ => "\"x\":0")),
            4 => ManyKeywords("\"required\":[" + List(150_000, _ => "\"k\"") + "]"),
            _ => ManyKeywords("\"type\":[" + List(90_000, _ => "\"object\"") + "]"),
        };
        bool refused = false;
        try
        {
            KimiConstraint.JsonSchema(schema, cancellationToken);
        }
        catch (KimiConstraintException)
        {
            refused = true;
        }

        Assert.That(refused, Is.EqualTo(form is 1 or 5), "states are too many, or types come twice");

        static string ManyKeywords(string keywords) =>
            "{\"oneOf\":[" + List(480, i => $"{{\"$ref\":\"#/$defs/a\",\"type\":\"object\",\"properties\":{{\"k\":{{\"const\":{i}}}}},\"required\":[\"k\"]}}") + "],\"$defs\":{\"a\":{" + keywords + "}}}";
    }

    /// <summary>Each alternative has the same ones, which are kept once.</summary>
    [TestCase("{\"enum\":[LIST],\"anyOf\":[BRANCHES]}", "{}", true)]
    [TestCase("{\"oneOf\":[BRANCHES],\"$defs\":{\"e\":{\"enum\":[LIST]}}}", "{\"$ref\":\"#/$defs/e\"}", false)]
    [CancelAfter(120_000)]
    public void Listed_values_take_no_memory_for_each_alternative(string form, string branch, bool accepted, CancellationToken cancellationToken)
    {
        JsonElement schema = JsonElement.Parse(form.Replace("LIST", string.Join(',', Enumerable.Repeat("null", 125_000))).Replace("BRANCHES", string.Join(',', Enumerable.Repeat(branch, 30))));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => KimiConstraint.JsonSchema(schema, cancellationToken), accepted ? Throws.Nothing : Throws.TypeOf<KimiConstraintException>().With.Message.Contains("'oneOf'"));
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(60_000_000));
    }

    /// <summary>Fifteen characters may refer to five hundred alternatives, and a name may stand for as many schemas as the text has.</summary>
    [Test, CancelAfter(120_000)]
    public void What_is_put_together_is_counted_as_it_is_kept([Values] bool members, CancellationToken cancellationToken)
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        JsonElement schema = JsonElement.Parse(members
            ? "{\"properties\":{" + List(50, i => $"\"p{i}\":{{\"properties\":{{" + List(120, j => $"\"m{i}_{j}\":{{}}") + "},\"allOf\":[{\"$ref\":\"#/t\"}]}") + "},\"t\":" + AllOf.Of(Enumerable.Repeat("{\"additionalProperties\":{}}", 3000)) + "}"
            : "{\"allOf\":[false," + List(8000, _ => "{\"$ref\":\"#/d\"}") + "],\"d\":{\"anyOf\":[" + List(500, _ => "{}") + "]}}");
        Assert.That(() => KimiConstraint.JsonSchema(schema, cancellationToken), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("32,000,000 entries"));
    }

    [Test]
    public void Schemas_of_any_kind_have_their_limit_of_length()
    {
        string schema = "{\"description\":\"" + new string('é', 1_000_000) + "\"}";
        Assert.That(() => KimiConstraint.JsonSchema(schema), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("1,000,000 characters"));
        Assert.That(() => KimiConstraint.JsonSchema(JsonElement.Parse(schema)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("1,000,000 characters"));
        Assert.That(() => KimiConstraint.JsonSchema(JsonElement.Parse(schema.Replace("éé", "é"))), Throws.Nothing);
    }

    /// <summary>A name stands in the place of each schema below it, and is no part of what is compiled.</summary>
    [Test]
    public void Long_names_are_kept_once()
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        static long Measure(string name)
        {
            JsonElement schema = JsonElement.Parse($"{{\"$ref\":\"#/$defs/{name}\",\"$defs\":{{\"{name}\":{{\"type\":\"object\",\"properties\":{{" + List(40, i => $"\"p{i}\":{{\"type\":\"object\",\"properties\":{{" + List(20, j => $"\"q{j}\":{{\"type\":\"null\"}}") + "}}") + "}}}}");
            long before = GC.GetAllocatedBytesForCurrentThread();
            KimiConstraint.JsonSchema(schema);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        _ = Measure("n");
        Assert.That(Measure(new string('n', 400_000)) - Measure("n"), Is.LessThan(50_000_000));
        using JsonDocument list = JsonDocument.Parse("{\"" + new string('n', 400_000) + "\":{" + List(20_000, _ => "\"a\":1") + ",\"b\":\"\\ud800\"}}");
        long start = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => KimiConstraint.JsonSchema(list.RootElement), Throws.TypeOf<KimiConstraintException>().With.Message.Length.LessThan(1000));
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - start, Is.LessThan(50_000_000));
    }

    /// <summary>Each reference asks for the address of the schema that it stands in.</summary>
    [Test]
    public void Long_addresses_are_read_once()
    {
        JsonElement schema = JsonElement.Parse("{\"$id\":\"" + new string('i', 400_000) + "\",\"$defs\":{\"y\":{}},\"allOf\":[" + string.Join(',', Enumerable.Repeat("{\"$ref\":\"#/$defs/y\"}", 200)) + "]}");
        long before = GC.GetAllocatedBytesForCurrentThread();
        KimiConstraint.JsonSchema(schema);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(20_000_000));
    }

    /// <summary>It is as long as all names around it, and each alternative of each <c>oneOf</c> has one.</summary>
    [Test, CancelAfter(120_000)]
    public void The_text_of_a_place_is_made_for_messages_only(CancellationToken cancellationToken)
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        string name = new('/', 100);
        string inside = "{\"allOf\":[" + List(50, _ => "{\"oneOf\":[{\"$ref\":\"#/d\"}]},false") + "]}";
        string schema = "{\"properties\":{\"p\":{\"$ref\":\"#" + string.Concat(Enumerable.Repeat("/" + name.Replace("/", "~1"), 40)) + "\"}},\"d\":{\"anyOf\":[" + List(500, _ => "{}") + "]},"
            + string.Concat(Enumerable.Repeat($"\"{name}\":{{", 39)) + $"\"{name}\":{inside}" + new string('}', 40);
        JsonElement read = JsonElement.Parse(schema);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => KimiConstraint.JsonSchema(read, cancellationToken), Throws.Nothing);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(100_000_000));
    }

    /// <summary>More of them are refused, so they are not put together first.</summary>
    [Test]
    public void No_more_alternatives_are_kept_than_there_may_be()
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        JsonElement schema = JsonElement.Parse("{\"anyOf\":[" + List(47_000, _ => "{\"$ref\":\"#/d\"}") + "],\"d\":{\"anyOf\":[" + List(499, i => $"{{\"maxLength\":{i}}}") + "]}}");
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => KimiConstraint.JsonSchema(schema), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("more than 500 alternatives"));
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(100_000_000));
    }

    [Test]
    public void Large_bounds_and_chains_of_references_are_no_attack()
    {
        string chain = "{\"$ref\":\"#/$defs/d0\",\"$defs\":{" + string.Join(',', Enumerable.Range(0, 300).Select(i => $$"""{{'"'}}d{{i}}":{"type":"array","maxItems":1,"items":{"$ref":"#/$defs/d{{(i + 1) % 300}}"} }""")) + "}}";
        string defs = "{\"$ref\":\"#/$defs/d0\",\"$defs\":{" + string.Join(',', Enumerable.Range(0, 40).Select(i => $$"""{{'"'}}d{{i}}":{"allOf":[{"$ref":"#/$defs/d{{i + 1}}"},{"$ref":"#/$defs/d{{i + 1}}"}]}""")) + ",\"d40\":{}}}";
        Assert.That(ConstraintReader.OfSchema(defs).Accepts("[1]"), Is.True);
        Assert.That(ConstraintReader.OfSchema(chain).Accepts("[[[[]]]]"), Is.True);
        ConstraintReader text = ConstraintReader.OfSchema("""{"type":"string","maxLength":1000000}""");
        Assert.That(text.Accepts("\"" + new string('x', 5000) + "\""), Is.True);
        ConstraintReader items = ConstraintReader.OfSchema("""{"type":"array","minItems":3,"maxItems":1000,"items":{"type":"string","maxLength":100}}""");
        Assert.That(items.Accepts("[\"a\",\"b\"]"), Is.False);
        Assert.That(items.Accepts("[" + string.Join(", ", Enumerable.Repeat("\"a\"", 1000)) + "]"), Is.True);
        Assert.That(items.Accepts("[" + string.Join(", ", Enumerable.Repeat("\"a\"", 1001)) + "]"), Is.False);
    }

    [Test]
    public void Compilation_can_be_cancelled()
    {
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.That(() => KimiConstraint.JsonSchema(Search, source.Token), Throws.InstanceOf<OperationCanceledException>());
    }
}
