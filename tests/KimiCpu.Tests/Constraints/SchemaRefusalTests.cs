// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Constraints;

namespace KimiCpu.Tests.Constraints;

/// <summary>Schemas that are wrong, or that masks cannot enforce.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SchemaRefusalTests
{
    [TestCase("""{"multipleOf":3}""", "multipleOf")]
    [TestCase("""{"type":"object","properties":{"a":{"not":{"type":"null"}}}}""", "#/properties/a")]
    [TestCase("""{"not":{}}""", "No text")]
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
    public void Places_of_an_array_with_schemas_of_their_own_have_their_limit()
    {
        static string Places(int count) => "{\"prefixItems\":[" + string.Join(',', Enumerable.Repeat("true", count)) + "]}";
        Assert.That(() => KimiConstraint.JsonSchema(Places(1000)), Throws.Nothing);
        Assert.That(() => KimiConstraint.JsonSchema(Places(1001)), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("more than 1000 schemas"));
    }

    [Test]
    public void Half_of_a_surrogate_pair_is_no_text() =>
        Assert.That(() => KimiConstraint.JsonSchema("{\"enum\":[\"\ud800\"]}"), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("character 10"));

    /// <summary>Messages are answered to clients, logged and kept.</summary>
    [Test, CancelAfter(60_000)]
    public void Messages_repeat_the_beginning_of_what_is_long([Values(0, 1, 2, 3, 4, 5)] int form)
    {
        string half = "x" + string.Concat(Enumerable.Repeat("😀", 8_000));
        string schema = form switch
        {
            0 => $"{{\"type\":\"{half}\"}}",
            1 => $"{{\"minLength\":[\"{half}\"]}}",
            2 => $"{{\"minimum\":\"{half}\"}}",
            3 => $"{{\"properties\":{{\"a\":{{}}}},\"required\":[\"{half}\"]}}",
            4 => $"{{\"type\":\"string\",\"pattern\":\"{half}(\"}}",
            _ => $"{{\"type\":\"string\",\"pattern\":\"\\\\p{{{half}}}\"}}",
        };
        KimiConstraintException? refusal = Assert.Throws<KimiConstraintException>(() => KimiConstraint.JsonSchema(schema));
        Assert.That(refusal!.Message, Has.Length.LessThan(1000));
        Assert.That(refusal.Message.EnumerateRunes(), Has.None.EqualTo(Rune.ReplacementChar), "no pair is cut");
    }

    [Test]
    public void Documents_deeper_than_any_reader_takes_are_refused()
    {
        string deep = string.Concat(Enumerable.Repeat("""{"items":""", 20_000)) + "{}" + new string('}', 20_000);
        using var document = JsonDocument.Parse(deep, new JsonDocumentOptions { MaxDepth = 30_000 });
        Assert.That(() => KimiConstraint.JsonSchema(document.RootElement), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("$defs"));
    }
}
