// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;
using static KimiCpu.Tests.Constraints.ExampleSchemas;

namespace KimiCpu.Tests.Constraints;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SchemaConstraintTests
{
    [TestCase(Search, """{"query":"x","filters":[{"field":"f"}]}""", true)]
    [TestCase(Search, """{"query": "x", "filters": [{"field": "f", "value": null, "tags": ["a", "b"]}], "mode": null}""", true)]
    [TestCase(Search, """{"strict":true,"filters":[{"value":-1.5e3,"field":"\ud83d\ude00\u00e9"}],"ratio":0.5,"query":"北京 😀","extra":{"a":"b","c":"d"},"limit":-3}""", true)]
    [TestCase(Search, """{"query":"x","query":"y","filters":[{"field":"f"}]}""", false)]
    [TestCase(Search, """{"query":"","filters":[{"field":"f"}]}""", false)]
    [TestCase(Search, """{"query":"x","filters":[]}""", false)]
    [TestCase(Search, """{"query":"x"}""", false)]
    [TestCase(Search, """{"query":"x","filters":[{"field":"f"}],"other":1}""", false)]
    [TestCase(Search, """{"query":"x","filters":[{"field":"f"}],"limit":1.5}""", false)]
    [TestCase(Search, """{"query":"x","filters":[{"field":"f"}],}""", false)]
    [TestCase(Search, """{"query":"x","filters":[{"field":"f"}]}x""", false)]
    [TestCase(Search, """{ "query":"x","filters":[{"field":"f"}]}""", false)]
    [TestCase(Search, """{"query":  "x","filters":[{"field":"f"}]}""", false)]
    [TestCase(Tree, """{"value":1,"children":[{"value":2,"children":[]},{"children":[{"value":3}],"value":4}]}""", true)]
    [TestCase(Tree, """{"value":1,"children":[{"children":[]}]}""", false)]
    [TestCase("""{"type":"string"}""", """ "\ud83d\ude00 \/ \u0041 \\ \" \b\f\n\r\t \uD7FF\uE000" """, true)]
    [TestCase("""{"type":"string"}""", """ "\ud83d" """, false)]
    [TestCase("""{"type":"string"}""", """ "\ud83dx" """, false)]
    [TestCase("""{"type":"string"}""", """ "\ud83d\u0041" """, false)]
    [TestCase("""{"type":"string"}""", """ "\ude00" """, false)]
    [TestCase("""{"type":"string"}""", """ "\x" """, false)]
    [TestCase("""{"type":"string","minLength":2,"maxLength":2}""", """ "😀😀" """, true)]
    [TestCase("""{"type":"string","minLength":2,"maxLength":2}""", """ "\ud83d\ude00\u0041" """, true)]
    [TestCase("""{"type":"string","minLength":2,"maxLength":2}""", """ "😀" """, false)]
    [TestCase("""{"type":"string","minLength":2,"maxLength":2}""", """ "abc" """, false)]
    [TestCase("""{"type":"string","maxLength":0}""", "\"\"", true)]
    [TestCase("""{"enum":["a\"b","é",{"x":[1,null]}]}""", """ "a\"b" """, true)]
    [TestCase("""{"enum":["a\"b","é",{"x":[1,null]}]}""", """{"x": [1, null]}""", true)]
    [TestCase("""{"enum":["a\"b","é",{"x":[1,null]}]}""", """{"x":[1]}""", false)]
    [TestCase("""{"type":"number"}""", "-0.5e-10", true)]
    [TestCase("""{"type":"number"}""", "01", false)]
    [TestCase("""{"type":"number"}""", "1.", false)]
    [TestCase("""{"type":"number"}""", "+1", false)]
    [TestCase("""{"type":"integer","format":"int32"}""", "2147483647", true)]
    [TestCase("""{"type":"integer","format":"int32"}""", "2147483648", false)]
    [TestCase("""{"type":"integer"}""", "-0", false)]
    [TestCase("""{"type":"integer","exclusiveMaximum":79228162514264337593543950335}""", "9999999999999999999", true)]
    [TestCase("""{"type":"integer","exclusiveMinimum":-79228162514264337593543950335,"maximum":-0.5}""", "-1", true)]
    [TestCase("""{"type":"integer","exclusiveMinimum":-79228162514264337593543950335,"maximum":-0.5}""", "0", false)]
    [TestCase("""{"type":"integer","minimum":-9223372036854775808,"maximum":9223372036854775807}""", "-9223372036854775808", true)]
    [TestCase("""{"type":"integer","minimum":-9223372036854775808,"maximum":9223372036854775807}""", "9223372036854775808", false)]
    [TestCase("""{"type":"integer","minimum":1000000000000000000}""", "1000000000000000000", true)]
    [TestCase("""{"type":"integer","minimum":1000000000000000000}""", "9999999999999999999", true)]
    [TestCase("""{"type":"integer","minimum":1000000000000000000}""", "999999999999999999", false)]
    [TestCase("""{"type":"integer","exclusiveMinimum":999999999999999999}""", "1000000000000000000", true)]
    [TestCase("""{"type":"integer","minimum":0,"exclusiveMinimum":true,"maximum":2,"exclusiveMaximum":false}""", "0", false)]
    [TestCase("""{"type":"integer","minimum":0,"exclusiveMinimum":true,"maximum":2,"exclusiveMaximum":false}""", "1", true)]
    [TestCase("""{"type":"integer","minimum":0,"exclusiveMinimum":true,"maximum":2,"exclusiveMaximum":false}""", "2", true)]
    [TestCase("""{"type":"integer","minimum":0,"exclusiveMinimum":false,"maximum":2,"exclusiveMaximum":true}""", "0", true)]
    [TestCase("""{"type":"integer","minimum":0,"exclusiveMinimum":false,"maximum":2,"exclusiveMaximum":true}""", "2", false)]
    [TestCase("""{"type":"integer","minimum":999999999999999999}""", "1000000000000000000", false)]
    [TestCase("""{"type":"integer","maximum":-1000000000000000000}""", "-1000000000000000001", true)]
    [TestCase("""{"type":"integer","maximum":-1000000000000000000}""", "-999999999999999999", false)]
    [TestCase("""{"type":"number","minimum":1.5e18}""", "1500000000000000000.5", true)]
    [TestCase("""{"type":"number","minimum":1.5e18}""", "1499999999999999999.5", false)]
    [TestCase("""{"type":"number","exclusiveMaximum":-1e18}""", "-1000000000000000000.5", true)]
    [TestCase("""{"type":"number","exclusiveMaximum":-1e18}""", "-1000000000000000000", false)]
    [TestCase("""{"type":"number","minimum":-3.4028234663852886e38,"maximum":3.4028234663852886e38}""", "-12.5", true)]
    [TestCase("""{"type":"number","minimum":-1.7976931348623157e308,"maximum":1.7976931348623157e308}""", "999999999999999999.5", true)]
    [TestCase("""{"type":"number","minimum":1,"maximum":1e99999999999999999999}""", "0", false)]
    [TestCase("""{"type":"number","minimum":1e-30}""", "0", false)]
    [TestCase("""{"type":"number","minimum":1e-30}""", "0.00000000000000001", true)]
    [TestCase("""{"type":"number","exclusiveMaximum":-1e-99999999999999999999}""", "0", false)]
    [TestCase("""{"type":"number","minimum":-1e-30,"maximum":1e-30}""", "0.0", true)]
    [TestCase("""{"type":"number","minimum":99999999999999999.99999999999999999}""", "99999999999999999.99999999999999998", false)]
    [TestCase("""{"type":"number","minimum":99999999999999999.99999999999999999}""", "99999999999999999.99999999999999999", true)]
    [TestCase("""{"type":"number","maximum":0.1234567890123456789012345678901}""", "0.12345678901234567", true)]
    [TestCase("""{"type":"number","maximum":0.1234567890123456789012345678901}""", "0.12345678901234568", false)]
    [TestCase("""{"type":"string","format":"date"}""", """ "2024-02-29" """, true)]
    [TestCase("""{"type":"string","format":"date"}""", """ "1900-02-29" """, false)]
    [TestCase("""{"type":"string","format":"date"}""", """ "2023-04-31" """, false)]
    [TestCase("""{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"}}""", """{"b":"x","ab":"y","a":1,"":"z"}""", true)]
    [TestCase("""{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"}}""", """{"a":"x"}""", false)]
    [TestCase("""{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"}}""", """{"\u0061":"x"}""", false)]
    [TestCase("""{"type":"string","nullable":true}""", "null", true)]
    [TestCase("""{"type":"string","format":"time"}""", "\"10:15:15.25\"", true)]
    [TestCase("""{"type":"string","format":"time"}""", "\"10:15:15-14:00\"", true)]
    [TestCase("""{"type":"string","format":"time"}""", "\"10:15:15+14:01\"", false)]
    [TestCase("""{"type":"string","format":"time","pattern":"[Z+-]"}""", "\"10:15:15+01:00\"", true)]
    [TestCase("""{"type":"string","format":"time","pattern":"[Z+-]"}""", "\"10:15:15\"", false)]
    [TestCase("""{"type":"string","format":"time","pattern":"^[^Z+-]*$"}""", "\"10:15:15\"", true)]
    [TestCase("""{"type":"string","format":"time","pattern":"^[^Z+-]*$"}""", "\"10:15:15Z\"", false)]
    [TestCase("""{"type":"string","format":"date-time"}""", "\"2024-02-29T10:15:15+13:59\"", true)]
    [TestCase("""{"type":"string","format":"date-time"}""", "\"2024-02-29T10:15:15-22:12\"", false)]
    [TestCase("""{"type":"string","format":"date-time"}""", "\"2024-02-29T10:15:15\"", false)]
    [TestCase("""{"type":"string","format":"color"}""", "\"any\"", true)]
    [TestCase("""{"type":"string","format":"uri-reference"}""", "\"../a?b=c:d\"", true)]
    [TestCase("""{"type":"string","format":"uri-reference"}""", "\"https://example.com/a:b#c\"", true)]
    [TestCase("""{"type":"string","format":"uri-reference"}""", "\"1a:b\"", false)]
    [TestCase("""{"type":"string","format":"json-pointer"}""", "\"/a~1b/0\"", true)]
    [TestCase("""{"type":"string","format":"json-pointer"}""", "\"/a~2\"", false)]
    [TestCase("""{"type":"string","format":"hostname"}""", "\"a.b-c.example\"", true)]
    [TestCase("""{"type":"integer","format":"uint8"}""", "255", true)]
    [TestCase("""{"type":"integer","format":"uint8"}""", "256", false)]
    [TestCase("""{"type":["integer","null"],"format":"uint64","minimum":0}""", "-1", false)]
    [TestCase("""{"type":"integer","format":"int16"}""", "-32768", true)]
    [TestCase("""{"type":"integer","format":"int16"}""", "-32769", false)]
    [TestCase("""{"type":"object","propertyNames":{"type":"string"},"additionalProperties":{"type":"integer"}}""", """{"a":1}""", true)]
    [TestCase("""{"allOf":[{"enum":[1,"a",{"x":1,"y":[2]}]},{"enum":[{"y":[2.0],"x":1.0},1.0]}]}""", "1", true)]
    [TestCase("""{"allOf":[{"enum":[1,"a",{"x":1,"y":[2]}]},{"enum":[{"y":[2.0],"x":1.0},1.0]}]}""", """{"x":1,"y":[2]}""", true)]
    [TestCase("""{"allOf":[{"enum":[1,"a",{"x":1,"y":[2]}]},{"enum":[{"y":[2.0],"x":1.0},1.0]}]}""", "\"a\"", false)]
    [TestCase("""{"properties":{"a":{"type":"integer"}},"minProperties":1,"required":["a"]}""", """{"a":1}""", true)]
    [TestCase("""{"properties":{"a":{"type":"integer"},"a":{"type":"string"}},"required":["a"]}""", """{"a":"x"}""", true)]
    [TestCase("""{"properties":{"a":{"type":"integer"},"a":{"type":"string"}},"required":["a"]}""", """{"a":1}""", false)]
    [TestCase("""{"properties":{"a":{"$ref":"#/properties/b"},"b":{"type":"integer"},"b":{"type":"string"}}}""", """{"a":"x","b":"y"}""", true)]
    [TestCase("""{"properties":{"a":{"$id":"https://example.com/a","$ref":"#/$defs/b","$defs":{"b":{"type":"null"}}}},"$defs":{"b":{"type":"boolean"}}}""", """{"a":null}""", true)]
    [TestCase("""{"properties":{"a":{"$id":"https://example.com/a","$ref":"#/$defs/b","$defs":{"b":{"type":"null"}}}},"$defs":{"b":{"type":"boolean"}}}""", """{"a":true}""", false)]
    [TestCase("""{"$id":"https://example.com/a","properties":{"a":{"$id":"#/properties/a","$ref":"#/$defs/b"}},"$defs":{"b":{"type":"boolean"}}}""", """{"a":true}""", true)]
    [TestCase("""{"$ref":"#/$defs/A","$defs":{"A":{"$id":"A","type":"object","properties":{"b":{"$ref":"#/$defs/B"}}},"B":{"type":"boolean"}}}""", """{"b":true}""", true)]
    [TestCase("""{"$ref":"#/$defs/A","$defs":{"A":{"$id":"A","type":"object","properties":{"b":{"$ref":"#/$defs/B"}}},"B":{"type":"boolean"}}}""", """{"b":1}""", false)]
    [TestCase("""{"patternProperties":{"^a":{"type":"integer"},"^a":{"type":"string"}}}""", """{"a":"x"}""", true)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"a\u001f":1}""", true)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"a\u001f":"x"}""", false)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"a\u001F":"x"}""", false)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"b\u001f":"x"}""", true)]
    [TestCase("""{"anyOf":[{"not":{}},{"type":"string"}]}""", "\"x\"", true)]
    [TestCase("""{"anyOf":[{"not":{}},{"type":"string"}]}""", "1", false)]
    [TestCase("""{"properties":{"a":{"not":true},"b":{"type":"null"}}}""", """{"b":null}""", true)]
    [TestCase("""{"properties":{"a":{"not":true},"b":{"type":"null"}}}""", """{"a":null}""", false)]
    [TestCase(DeclaredBeside, """{"a":"x"}""", true)]
    [TestCase(DeclaredBeside, """{"b":"x"}""", true)]
    [TestCase(DeclaredBeside, """{"a":"x","b":"y"}""", false)]
    [TestCase(OpenBase, """{"card":"x","other":1}""", true)]
    [TestCase(OpenBase, """{"other":1,"iban":"x"}""", true)]
    [TestCase(OpenBase, """{"card":"x","iban":"y"}""", false)]
    [TestCase(OpenBase, """{"iban":"y","card":"x"}""", false)]
    [TestCase(NestedVariants, """{"by":{"card":"x","other":"y"}}""", true)]
    [TestCase(NestedVariants, """{"by":{"card":"x","iban":"y"}}""", false)]
    [TestCase(NullableMember, """{"m":null}""", true)]
    [TestCase(NullableMember, """{"m":{"a":1,"x":2}}""", true)]
    [TestCase(NullableMember, """{"m":{"a":1,"c":2}}""", true)]
    [TestCase(NullableMember, """{"m":{"b":1,"x":2}}""", true)]
    [TestCase(NullableMember, """{"m":{"a":1,"b":2}}""", false)]
    [TestCase(NullableMember, """{"m":{"b":1,"c":2}}""", false)]
    [TestCase(LateDiscriminator, """{"type":"A","payload":{"a":1,"b":2}}""", true)]
    [TestCase(LateDiscriminator, """{"payload":{"b":1,"a":2},"type":"B"}""", true)]
    [TestCase(LateDiscriminator, """{"payload":{"b":1},"type":"A"}""", false)]
    [TestCase(TwoChoices, """{"a":null,"c":null}""", true)]
    [TestCase(TwoChoices, """{"b":null,"d":null}""", true)]
    [TestCase(TwoChoices, """{"a":null,"b":null,"d":null}""", false)]
    [TestCase("""{"type":"object","properties":{"a":{}},"maxProperties":1,"oneOf":[{"required":["a"],"properties":{"a":{"type":"null"}}},{"type":"object","properties":{"b":{"type":"null"}},"required":["b"],"maxProperties":2}]}""", """{"a":null}""", true)]
    public void Documents_are_accepted_or_not(string schema, string document, bool accepted)
    {
        ConstraintReader reader = ConstraintReader.OfSchema(schema);
        string text = document.Trim();
        Assert.That(reader.Accepts(text), Is.EqualTo(accepted));
        Assert.That(reader.AcceptsBytes(text), Is.EqualTo(accepted), "byte by byte");
    }

    /// <summary>Each is told the names of all others, for which it needs no automaton of its own.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Many_variants_of_an_open_object_exclude_each_other()
    {
        ConstraintReader reader = ConstraintReader.OfSchema(Variants.OfOpenObject(200));
        Assert.That(reader.AcceptsBytes($$"""{"{{Variants.Name(7)}}":"x","other":1}"""), Is.True);
        Assert.That(reader.AcceptsBytes($$"""{"other":1,"{{Variants.Name(199)}}":"x"}"""), Is.True);
        Assert.That(reader.AcceptsBytes($$"""{"{{Variants.Name(7)}}":"x","{{Variants.Name(8)}}":"y"}"""), Is.False);
    }

    [TestCase("""{"type":"integer","enum":[1.0,2.0,1.5],"minimum":2}""", "2.0")]
    [TestCase("""{"type":"number","enum":[1e-3,0.5,-1e-3],"minimum":0}""", "1e-3", "0.5")]
    [TestCase("""{"enum":[1e20,1e-30,"a"],"exclusiveMinimum":1e-30}""", "1e20", "\"a\"")]
    [TestCase("""{"enum":[-0.0,-2],"minimum":-1}""", "-0.0")]
    [TestCase("""{"type":"integer","enum":[1e-30,1e30]}""", "1e30")]
    [TestCase("""{"type":"string","format":"uri","const":"https://example.com/a%20b c"}""", "\"https://example.com/a%20b c\"")]
    [TestCase("""{"type":"string","format":"email","enum":["ops@localhost","a@b.co"]}""", "\"ops@localhost\"", "\"a@b.co\"")]
    [TestCase("""{"type":["string","integer"],"format":"int32","enum":[5000000000]}""", "5000000000")]
    [TestCase("""{"enum":["","a","😀","ab","abc","ac\u001f"],"minLength":1,"maxLength":2,"pattern":"^.(b|$)"}""", "\"a\"", "\"😀\"", "\"ab\"")]
    [TestCase("""{"enum":["ab","b"],"pattern":"^a.{0,90000}$"}""", "\"ab\"")]
    [TestCase("""{"enum":[[1],[1.0,2],["x",1,2],[]],"minItems":1,"maxItems":2,"prefixItems":[{"type":"integer"}],"items":{"minimum":2}}""", "[1]", "[1.0,2]")]
    [TestCase("""{"enum":[{"a":1.0},{"a":1.5},{"b":1},{"a":1,"x1":2},{"a":1,"x2":"y"},{"a":1,"z":0}],"required":["a"],"properties":{"a":{"type":"integer"}},"patternProperties":{"^x":{"type":"string"}}}""", "{\"a\":1.0}", "{\"a\":1,\"x2\":\"y\"}")]
    [TestCase("""{"enum":[{"a":{"a":null}},{"a":{"a":2}},{"b":1}],"$ref":"#/$defs/n","$defs":{"n":{"anyOf":[{"type":"null"},{"properties":{"a":{"$ref":"#/$defs/n"}},"type":"object"}]}}}""", "{\"a\":{\"a\":null}}")]
    [TestCase("""{"enum":[{"k":"c"},{"k":1e0},{"k":2}],"properties":{"k":{"anyOf":[{"const":"c"},{"enum":[1,3]}]}}}""", "{\"k\":\"c\"}", "{\"k\":1e0}")]
    [TestCase("""{"type":"array","items":{"type":"number","enum":[5],"minimum":0.5,"exclusiveMinimum":123456,"exclusiveMaximum":9.99}}""", "[]")]
    [TestCase("""{"anyOf":[{"enum":["a"],"maxLength":0},{"type":"null"}]}""", "null")]
    public void Listed_values_are_judged_as_values(string schema, params string[] valid)
    {
        ConstraintReader reader = ConstraintReader.OfSchema(schema);
        JsonElement root = JsonElement.Parse(schema);
        string[] listed = root.TryGetProperty("enum", out JsonElement values) ? [.. values.EnumerateArray().Select(v => v.GetRawText())] : [];
        Assert.That(listed.Union(valid).Where(v => reader.AcceptsBytes(v)), Is.EqualTo(valid));
    }

    [Test]
    public void Integers_are_exactly_those_within_bounds([Values(-120, -10, 0, 7)] int min, [Values(-100, -3, 0, 9, 10, 105)] int max)
    {
        if (min > max)
        {
            return;
        }

        ConstraintReader reader = ConstraintReader.OfSchema($$"""{"type":"integer","minimum":{{min}},"maximum":{{max}}}""");
        for (int value = -1300; value <= 1300; value++)
        {
            Assert.That(reader.Accepts($"{value}"), Is.EqualTo(value >= min && value <= max), $"{value}");
        }
    }

    [TestCase("0.25", "1.5", false, false)]
    [TestCase("0.25", "1.5", true, true)]
    [TestCase("-1.05", "0.3", false, true)]
    [TestCase("-2", "-1.9", true, false)]
    [TestCase("9.99", "10.01", false, false)]
    public void Numbers_are_exactly_those_within_bounds(string min, string max, bool exclusiveMin, bool exclusiveMax)
    {
        ConstraintReader reader = ConstraintReader.OfSchema($$"""{"type":"number","{{(exclusiveMin ? "exclusiveMinimum" : "minimum")}}":{{min}},"{{(exclusiveMax ? "exclusiveMaximum" : "maximum")}}":{{max}}}""");
        (decimal low, decimal high) = (decimal.Parse(min), decimal.Parse(max));
        foreach (string format in new[] { "0.###", "0.0", "0.00", "0.000" })
        {
            for (int i = -11_000; i <= 11_000; i++)
            {
                string text = (i / 1000m).ToString(format);
                decimal value = decimal.Parse(text);
                bool inside = (exclusiveMin ? value > low : value >= low) && (exclusiveMax ? value < high : value <= high);
                Assert.That(reader.AcceptsBytes(text), Is.EqualTo(inside && !(value == 0 && text[0] == '-')), text);
            }
        }
    }

    [Test]
    public void Nesting_ends_where_readers_end_it()
    {
        ConstraintReader reader = new(KimiConstraint.JsonSchema("true"));
        foreach (int depth in new[] { 1, 63, 64 })
        {
            string arrays = new string('[', depth) + new string(']', depth);
            Assert.That(reader.Accepts(arrays), Is.True);
            using JsonDocument document = JsonDocument.Parse(arrays);
            Assert.That(reader.Accepts(new string('[', depth) + "1" + new string(']', depth)), Is.True);
        }

        Assert.That(reader.Accepts(new string('[', 65) + new string(']', 65)), Is.False);
        Assert.That(reader.Accepts(string.Concat(Enumerable.Repeat("{\"a\":", 64)) + "{}" + new string('}', 64)), Is.False);
        ConstraintReader listed = ConstraintReader.OfSchema("""{"type":"array","items":{"anyOf":[{"$ref":"#"},{"const":[[1]]},{"enum":[{"a":2},3]}]}}""");
        foreach ((int depth, string value, int levels) in new[] { (62, "[[1]]", 2), (63, "[[1]]", 2), (64, "[[1]]", 2), (63, "{\"a\":2}", 1), (64, "{\"a\":2}", 1), (64, "3", 0), (65, "3", 0) })
        {
            Assert.That(listed.Accepts(new string('[', depth) + value + new string(']', depth)), Is.EqualTo(depth + levels <= 64), $"{value} in {depth}");
        }

        string deep = new string('[', 65) + new string(']', 65);
        using JsonDocument constant = JsonDocument.Parse($"{{\"const\":{deep}}}", new JsonDocumentOptions { MaxDepth = 100 });
        Assert.That(() => KimiConstraint.JsonSchema(constant.RootElement), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("64 levels"));
    }

    [Test]
    public void A_text_may_have_many_patterns()
    {
        static string Schema(IEnumerable<string> patterns) => "{\"type\":\"string\",\"allOf\":[" + string.Join(',', patterns.Select(p => $"{{\"pattern\":\"{p}\"}}")) + "]}";
        foreach (int count in new[] { 63, 64 })
        {
            ConstraintReader equal = ConstraintReader.OfSchema(Schema(Enumerable.Repeat("b", count).Prepend("a")));
            Assert.That(equal.AcceptsBytes("\"ab\""), Is.True);
            Assert.That(equal.AcceptsBytes("\"a\""), Is.False);
        }

        IEnumerable<string> different = Enumerable.Range(0, 33).Select(i => $"^.{{{i}}}");
        ConstraintReader longest = ConstraintReader.OfSchema(Schema(different.Take(32)));
        Assert.That(longest.AcceptsBytes($"\"{new string('x', 31)}\""), Is.True);
        Assert.That(longest.AcceptsBytes($"\"{new string('x', 30)}\""), Is.False);
        Assert.That(() => KimiConstraint.JsonSchema(Schema(different)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("at #/allOf/0: A text has at most 32 patterns"));
    }

    /// <summary>After the brace each member of each branch is a way to go on.</summary>
    [Test]
    public void No_branch_is_left_out_however_many_there_are()
    {
        static string List(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        ConstraintReader any = ConstraintReader.OfSchema("{\"anyOf\":[" + List(45, b => "{\"type\":\"object\",\"properties\":{" + List(100, p => $"\"b{b}p{p}\":{{\"type\":\"null\"}}") + "}}") + "]}");
        Assert.That(any.Accepts("{\"b0p0\":null}"), Is.True);
        Assert.That(any.Accepts("{\"b44p99\":null, \"b44p0\":null}"), Is.True);
        Assert.That(any.Accepts("{\"b44p99\":null, \"b43p0\":null}"), Is.False);
        ConstraintReader one = ConstraintReader.OfSchema("{\"oneOf\":[" + List(480, b => $"{{\"type\":\"object\",\"required\":[\"kind\"],\"properties\":{{\"kind\":{{\"enum\":[\"k{b}\",\"x{b}\"]}}," + List(8, p => $"\"p{p}\":{{\"type\":\"null\"}}") + "}}") + "]}");
        Assert.That(one.Accepts("{\"kind\":\"k479\"}"), Is.True);
        Assert.That(one.Accepts("{\"p7\":null,\"kind\":\"k479\"}"), Is.True);
    }
}
