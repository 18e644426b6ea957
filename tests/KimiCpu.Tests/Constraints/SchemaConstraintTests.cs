// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Constraints;
using NJsonSchema;

namespace KimiCpu.Tests.Constraints;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SchemaConstraintTests
{
    private const string Search = """
        {"type":"object","additionalProperties":false,"required":["query","filters"],"properties":{
        "query":{"type":"string","minLength":1,"maxLength":200,"pattern":"^.+$"},
        "filters":{"type":"array","minItems":1,"items":{"type":"object","required":["field"],"properties":{"field":{"type":"string"},"value":{"anyOf":[{"type":"string"},{"type":"number"},{"type":"null"}]},"tags":{"type":"array","items":{"type":"string"}}}}},
        "mode":{"type":["string","null"],"description":"null: automatic"},"limit":{"type":"integer","default":10},"ratio":{"type":"number","default":0.5},"strict":{"type":"boolean","default":true},"extra":{"type":"object","additionalProperties":{"type":"string"}}}}
        """;

    private const string Tree = """{"type":"object","required":["value"],"properties":{"value":{"type":"number"},"children":{"type":"array","items":{"$ref":"#"}}}}""";

    /// <summary>Branches that differ only in what they do not declare, of which all is declared beside them.</summary>
    private const string DeclaredBeside = """
        {"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},
        "oneOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}]}
        """;

    /// <summary>As generators write variants of an open base.</summary>
    private const string OpenBase = """
        {"type":"object","additionalProperties":true,"oneOf":[{"$ref":"#/$defs/Card"},{"$ref":"#/$defs/Iban"}],"$defs":{
        "Card":{"type":"object","properties":{"card":{"type":"string"}},"required":["card"]},
        "Iban":{"type":"object","properties":{"iban":{"type":"string"}},"required":["iban"]}}}
        """;

    private const string NestedVariants = """
        {"type":"object","properties":{"by":{"type":"object","additionalProperties":{"type":"string"}}},"oneOf":[
        {"type":"object","properties":{"by":{"type":"object","properties":{"card":{}},"required":["card"]}},"required":["by"]},
        {"type":"object","properties":{"by":{"type":"object","properties":{"iban":{}},"required":["iban"]}},"required":["by"]}]}
        """;

    /// <summary>A member that may be missing, as generators write it, or one of several objects.</summary>
    private const string NullableMember = """
        {"type":"object","properties":{"m":{"type":["object","null"],"additionalProperties":{"type":"integer"}}},"oneOf":[
        {"type":"object","required":["m"],"properties":{"m":{"anyOf":[{"type":"object","properties":{"a":{}},"required":["a"]},{"type":"object","properties":{"c":{}},"required":["c"]},{"type":"null"}]}}},
        {"type":"object","required":["m"],"properties":{"m":{"type":"object","properties":{"b":{}},"required":["b"]}}}]}
        """;

    /// <summary>Branches that another required member would tell apart too, at the price of what it forbids.</summary>
    private const string LateDiscriminator = """
        {"type":"object","properties":{"payload":{"type":"object","additionalProperties":{"type":"integer"}}},"oneOf":[
        {"type":"object","required":["payload","type"],"properties":{"payload":{"type":"object","properties":{"a":{}},"required":["a"]},"type":{"const":"A"}}},
        {"type":"object","required":["payload","type"],"properties":{"payload":{"type":"object","properties":{"b":{}},"required":["b"]},"type":{"const":"B"}}}]}
        """;

    private const string TwoChoices = """
        {"allOf":[
        {"oneOf":[{"type":"object","properties":{"a":{"type":"null"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"null"}},"required":["b"]}]},
        {"oneOf":[{"type":"object","properties":{"c":{"type":"null"}},"required":["c"]},{"type":"object","properties":{"d":{"type":"null"},"b":{"type":"null"}},"required":["d"]}]}]}
        """;

    /// <summary>Schemas of every supported keyword. Their samples are judged by another implementation.</summary>
    private static readonly string[] s_schemas =
    [
        Search,
        Tree,
        "true",
        """{"type":"object"}""",
        """{"type":"array","minItems":2,"maxItems":4,"items":{"type":"boolean"}}""",
        """{"type":"array","items":{"type":"array","items":{"type":"integer"},"maxItems":2},"minItems":1}""",
        """{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":{"type":"null"},"minItems":2,"maxItems":5}""",
        """{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false}""",
        """{"type":"integer","minimum":-17,"maximum":1234}""",
        """{"type":"integer","exclusiveMinimum":99,"exclusiveMaximum":1001}""",
        """{"type":"integer","minimum":2.5}""",
        """{"type":"integer","maximum":-7}""",
        """{"type":"number","minimum":-1.25,"maximum":3.5}""",
        """{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1}""",
        """{"type":"number","minimum":0.05,"maximum":0.075}""",
        """{"type":"number","minimum":12.5}""",
        """{"type":"number","exclusiveMaximum":-100}""",
        """{"type":"string","minLength":3,"maxLength":5,"pattern":"^[a-zA-Z0-9 ]*$"}""",
        """{"type":"string","pattern":"^(foo|ba[rz]+)-\\d{2,4}$"}""",
        """{"type":"string","pattern":"b.d"}""",
        """{"type":"string","format":"date"}""",
        """{"type":"string","format":"date-time"}""",
        """{"type":"string","format":"uuid"}""",
        """{"type":"string","format":"ipv4"}""",
        """{"type":"string","format":"ipv6"}""",
        """{"type":"string","format":"email"}""",
        """{"type":"string","format":"hostname"}""",
        """{"enum":["a","b\"c","\u00e9\n","",1,2.5,null,true,[1,"x"],{"k":{"n":[]}}]}""",
        """{"type":"string","enum":["a",1,"abc","abcdef"],"minLength":2}""",
        """{"const":{"a":[1,2,{"b":null}]}}""",
        """{"type":["string","integer","null"],"maxLength":3}""",
        """{"anyOf":[{"type":"object","required":["kind","r"],"properties":{"kind":{"const":"circle"},"r":{"type":"number"}},"additionalProperties":false},{"type":"object","required":["kind","w"],"properties":{"kind":{"const":"square"},"w":{"type":"integer"}},"additionalProperties":false}]}""",
        """{"oneOf":[{"type":"object","required":["kind","r"],"properties":{"kind":{"const":"circle"},"r":{"type":"number"}}},{"type":"object","required":["kind"],"properties":{"kind":{"const":"square"},"w":{"type":"integer"}}},{"type":"null"}]}""",
        """{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"a":{"minimum":5},"b":{"type":"string"}}}]}""",
        DeclaredBeside,
        NullableMember,
        TwoChoices,
        """{"type":"object","properties":{"a":{"$ref":"#/$defs/pos"},"b":{"$ref":"#/$defs/pos","maximum":9}},"$defs":{"pos":{"type":"integer","minimum":1}}}""",
        """{"type":"object","patternProperties":{"^x_":{"type":"integer"},"_y$":{"minimum":3}},"additionalProperties":{"type":"boolean"},"properties":{"name":{"type":"string"}}}""",
        """{"type":"object","patternProperties":{"^[a-c]+$":{"type":"null"}},"additionalProperties":false}""",
        """{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":true}""",
        """{"type":"object","properties":{"a b":{"type":"integer"},"\"q\"":{"type":"null"},"é/~":{"const":1}},"required":["é/~","\"q\""]}""",
        """{"type":"object","properties":{"list":{"$ref":"#/$defs/node"}},"$defs":{"node":{"type":["object","null"],"properties":{"next":{"$ref":"#/$defs/node"},"v":{"type":"integer"}},"required":["next","v"],"additionalProperties":false}}}""",
        """{"type":"object","required":["x"],"properties":{"x":{"type":"integer"}},"anyOf":[{"properties":{"y":{"type":"string"}},"required":["y"]},{"properties":{"z":{"type":"boolean"}},"required":["z"]}]}""",
    ];

    [TestCaseSource(nameof(s_schemas))]
    public async Task Random_tokens_under_the_mask_give_valid_json(string schema)
    {
        JsonSchema oracle = schema == "true" ? new JsonSchema() : await JsonSchema.FromJsonAsync(InOlderDraft(JsonNode.Parse(schema)!).ToJsonString());
        ConstraintReader reader = ConstraintReader.OfSchema(schema);
        for (int seed = 0; seed < 60; seed++)
        {
            string text = reader.Sample(new Random(seed));
            using JsonDocument document = JsonDocument.Parse(text);
            if (!HasDuplicates(document.RootElement))
            {
                Assert.That(oracle.Validate(text), Is.Empty, text);
            }
        }
    }

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
    [TestCase("""{"patternProperties":{"^a":{"type":"integer"},"^a":{"type":"string"}}}""", """{"a":"x"}""", true)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"a\u001f":1}""", true)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"a\u001f":"x"}""", false)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"a\u001F":"x"}""", false)]
    [TestCase("""{"type":"object","properties":{"a\u001F":{"type":"integer"}},"additionalProperties":true}""", """{"b\u001f":"x"}""", true)]
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

    [TestCase("https://example.com/a%20b?q=%C3%A9&r=1#%41-b", true)]
    [TestCase("http://localhost:49152/", true)]
    [TestCase("http://localhost:65535", true)]
    [TestCase("http://localhost:100000", false)]
    [TestCase("http://my_host/x", true)]
    [TestCase("ftp://user:p%40ss@a.example/x", true)]
    [TestCase("http://[::1]:8080/a", true)]
    [TestCase("http://[2001:db8::7]", true)]
    [TestCase("http://[::1", false)]
    [TestCase("https://ec2-1-2-3-4.eu-west-1.compute.cloud.example.com", true)]
    [TestCase("mailto:a@b.c", true)]
    [TestCase("urn:x:y", true)]
    [TestCase("magnet:?xt=urn:btih:c12f", true)]
    [TestCase("file:///etc/x", true)]
    [TestCase("unix:/run/x.sock", true)]
    [TestCase("https://a.b/%2", false)]
    [TestCase("https://a.b/%zz", false)]
    [TestCase("https://a.b/a b", false)]
    [TestCase("https://", false)]
    [TestCase("https://a..b/", false)]
    [TestCase("https://a.b/\"x", false)]
    [TestCase("//a.b:80/c", false)]
    [TestCase("a/b", false)]
    [TestCase("c:/x", false)]
    [TestCase("", false)]
    public void Addresses_are_what_rfc_3986_calls_so(string text, bool accepted)
    {
        Assert.That(ConstraintReader.OfSchema("""{"type":"string","format":"uri"}""").AcceptsBytes($"\"{text}\""), Is.EqualTo(accepted));
        Assert.That(!accepted || ConstraintReader.OfSchema("""{"type":"string","format":"uri-reference"}""").AcceptsBytes($"\"{text}\""), Is.True, "as a reference");
    }

    /// <summary>2,083 is what some generators write for every address.</summary>
    [TestCase("uri", 2083)]
    [TestCase("uri-reference", 1000)]
    public void Addresses_may_be_as_long_as_their_length_says(string format, int maxLength)
    {
        ConstraintReader reader = ConstraintReader.OfSchema($$"""{"type":"string","format":"{{format}}","minLength":12,"maxLength":{{maxLength}}}""");
        string longest = "https://example.com/%20?".PadRight(maxLength, 'x');
        Assert.That(reader.AcceptsBytes($"\"{longest}\""), Is.True);
        Assert.That(reader.AcceptsBytes($"\"{longest}x\""), Is.False);
        Assert.That(reader.AcceptsBytes("\"http://a.de/\""), Is.True);
        Assert.That(reader.AcceptsBytes("\"http://a.de\""), Is.False);
        Assert.That(reader.AcceptsBytes("\"http://a.de/ä\""), Is.False);
    }

    [TestCase(61, true)]
    [TestCase(62, false)]
    public void Names_of_hosts_have_253_characters_at_most(int last, bool accepted)
    {
        string label = new('a', 63);
        Assert.That(ConstraintReader.OfSchema("""{"type":"string","format":"hostname"}""").AcceptsBytes($"\"{label}.{label}.{label}.{new string('b', last)}\""), Is.EqualTo(accepted));
    }

    [TestCase("", true)]
    [TestCase("/", true)]
    [TestCase("?a=%20", true)]
    [TestCase("#x", true)]
    [TestCase("a%20b/c:d", true)]
    [TestCase("/a:b", true)]
    [TestCase("//user@a.b:8443/c", true)]
    [TestCase("1a:b", false)]
    [TestCase("a%2", false)]
    [TestCase("//", false)]
    public void References_to_addresses_may_leave_out_what_comes_first(string text, bool accepted) =>
        Assert.That(ConstraintReader.OfSchema("""{"type":"string","format":"uri-reference"}""").AcceptsBytes($"\"{text}\""), Is.EqualTo(accepted));

    [Test]
    public void Random_addresses_end_and_are_well_formed()
    {
        ConstraintReader reader = ConstraintReader.OfSchema("""{"type":"string","format":"uri"}""");
        for (int seed = 0; seed < 60; seed++)
        {
            using JsonDocument document = JsonDocument.Parse(reader.Sample(new Random(seed)));
            Assert.That(document.RootElement.GetString(), Does.Match(@"^[A-Za-z][A-Za-z0-9+.-]+:([A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$"));
        }
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
        ConstraintReader one = ConstraintReader.OfSchema("{\"oneOf\":[" + List(480, b => $"{{\"type\":\"object\",\"required\":[\"kind\"],\"properties\":{{\"kind\":{{\"const\":\"k{b}\"}}," + List(8, p => $"\"p{p}\":{{\"type\":\"null\"}}") + "}}") + "]}");
        Assert.That(one.Accepts("{\"kind\":\"k479\"}"), Is.True);
        Assert.That(one.Accepts("{\"p7\":null,\"kind\":\"k479\"}"), Is.True);
    }

    [TestCase("""{"multipleOf":3}""", "multipleOf")]
    [TestCase("""{"type":"object","properties":{"a":{"not":{}}}}""", "#/properties/a")]
    [TestCase("""{"type":"string","format":"regex"}""", "regex")]
    [TestCase("""{"enum":["\ud800"]}""", "surrogate")]
    [TestCase("""{"properties":{"a":{"\udc00":true}}}""", "#/properties/a")]
    [TestCase("""{"required":["\udc00x"]}""", "surrogate")]
    [TestCase("""{"type":"object","propertyNames":{"type":"string","maxLength":3}}""", "propertyNames")]
    [TestCase("""{"type":"array","uniqueItems":true}""", "uniqueItems")]
    [TestCase("""{"if":{},"then":{}}""", "anyOf")]
    [TestCase("""{"type":"text"}""", "text")]
    [TestCase("""{"type":"string","pattern":"(?=a)"}""", "look-around")]
    [TestCase("""{"type":"string","pattern":"a("}""", "')'")]
    [TestCase("""{"properties":{"a":{"enum":["a"],"pattern":"a("}}}""", "at #/properties/a: The pattern")]
    [TestCase("""{"type":"object","properties":{"a":{"enum":[1],"minimum":2}},"required":["a"]}""", "at #/properties/a: No text")]
    [TestCase("""{"type":"object","properties":{"a":{"type":"object","patternProperties":{"(":{}}}}}""", "at #/properties/a: The pattern '('")]
    [TestCase("""{"enum":["a"],"format":7}""", "'format' takes a text")]
    [TestCase("""{"$ref":"#/$defs/none"}""", "#/$defs/none")]
    [TestCase("""{"$ref":"other.json"}""", "inside the schema")]
    [TestCase("""{"$ref":"#"}""", "refers to itself")]
    [TestCase("""{"anyOf":[{"$ref":"#"},{"type":"null"}]}""", "refers to itself")]
    [TestCase("""{"oneOf":[{"type":"integer"},{"type":"number"}]}""", "oneOf")]
    [TestCase("""{"oneOf":[{"type":"object","properties":{"a":{}}},{"type":"object","properties":{"b":{}}}]}""", "oneOf")]
    [TestCase("""{"type":"object","minProperties":2}""", "minProperties")]
    [TestCase("""{"items":[{"type":"null"}]}""", "prefixItems")]
    [TestCase("""{"type":"integer","minimum":5,"maximum":4}""", "No text")]
    [TestCase("""{"type":"integer","exclusiveMinimum":79228162514264337593543950335}""", "No text")]
    [TestCase("""{"type":"number","minimum":1e300}""", "No text")]
    [TestCase("""{"type":"number","maximum":-3.4028234663852886e38}""", "No text")]
    [TestCase("""{"minimum":"1"}""", "'minimum' takes a number")]
    [TestCase("false", "No text")]
    [TestCase("""{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}""", "No text")]
    [TestCase("""{"enum":[]}""", "No text")]
    [TestCase("""{"type":"object","required":["a","b"],"properties":{"a":{"type":"string"},"b":{"type":"array","minItems":1,"items":{"type":"integer","minimum":5,"maximum":3}}}}""", "at #/properties/b/items: No text")]
    [TestCase("""{"type":"object","required":["a"],"properties":{"a":{"$ref":"#/$defs/never"}},"$defs":{"never":{"enum":[]}}}""", "at #/properties/a: No text")]
    [TestCase("17", "expected a schema")]
    [TestCase("{", "not valid JSON")]
    [TestCase("""{"minLength":-1}""", "minLength")]
    [TestCase("""{"minItems":"x"}""", "minItems")]
    [TestCase("""{"properties":[]}""", "properties")]
    [TestCase("""{"required":"a"}""", "required")]
    public void What_cannot_be_enforced_is_refused(string schema, string said) =>
        Assert.That(() => KimiConstraint.JsonSchema(schema), Throws.TypeOf<KimiConstraintException>().With.Message.Contains(said));

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
    public void Half_of_a_surrogate_pair_is_no_text() =>
        Assert.That(() => KimiConstraint.JsonSchema("{\"enum\":[\"\ud800\"]}"), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("character 10"));

    [Test]
    public void Documents_deeper_than_any_reader_takes_are_refused()
    {
        string deep = string.Concat(Enumerable.Repeat("""{"items":""", 20_000)) + "{}" + new string('}', 20_000);
        using var document = JsonDocument.Parse(deep, new JsonDocumentOptions { MaxDepth = 30_000 });
        Assert.That(() => KimiConstraint.JsonSchema(document.RootElement), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("$defs"));
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

    /// <summary>The oracle knows older drafts: <c>prefixItems</c> is the list form of <c>items</c> there, and there is no <c>const</c>.</summary>
    private static JsonNode InOlderDraft(JsonNode schema)
    {
        if (schema is JsonArray list)
        {
            return new JsonArray([.. list.Select(i => i is null ? null : InOlderDraft(i))]);
        }

        if (schema is not JsonObject keywords)
        {
            return schema.DeepClone();
        }

        var older = new JsonObject();
        foreach ((string name, JsonNode? value) in keywords)
        {
            JsonNode? rewritten = value is null ? null : InOlderDraft(value);
            string newName = name switch
            {
                "prefixItems" => "items",
                "items" when keywords.ContainsKey("prefixItems") => "additionalItems",
                "$defs" => "definitions",
                "const" => "enum",
                _ => name,
            };
            older[newName] = name == "const" ? new JsonArray(rewritten) : name == "$ref" ? ((string)value!).Replace("$defs", "definitions") : rewritten;
        }

        return older;
    }

    private static bool HasDuplicates(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject().GroupBy(p => p.Name).Any(g => g.Count() > 1) || element.EnumerateObject().Any(p => HasDuplicates(p.Value)),
        JsonValueKind.Array => element.EnumerateArray().Any(HasDuplicates),
        _ => false,
    };
}
