// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints;

namespace KimiCpu.Tests.Constraints;

/// <summary>References by the address of a schema, as files have them that several schemas were bundled into.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SchemaReferenceTests
{
    private static readonly (string Schema, string Valid, string Wrong)[] s_schemas =
    [
        ("""{"$ref":"https://example.com/a","$defs":{"x":{"$id":"https://example.com/a","type":"boolean"}}}""", "true", "1"),
        ("""{"$ref":"https://example.com/a","$defs":{"x":{"$id":"https://example.com/a#","type":"boolean"}}}""", "true", "1"),
        ("""{"$ref":"https://EXAMPLE.com:443/a#","$defs":{"x":{"$id":"https://example.com/a","type":"boolean"}}}""", "true", "1"),
        ("""{"$id":"https://example.com/root","$ref":"https://example.com/root#/$defs/x","$defs":{"x":{"type":"boolean"}}}""", "true", "1"),
        ("""{"$id":"https://example.com/root","$ref":"root#/$defs/x","$defs":{"x":{"type":"boolean"}}}""", "true", "1"),
        ("""{"$ref":"urn:example:a#/$defs/y","$defs":{"x":{"$id":"urn:example:a","type":"null","$defs":{"y":{"type":"boolean"}}}}}""", "true", "null"),
        ("""{"anyOf":[{"$ref":"#/$defs/v"},{"type":"array","items":{"$ref":"T0"},"$id":"T0"}],"$defs":{"v":{"type":"boolean"}}}""", "[[]]", "[true]"),

        // As the specification has it: by its whole address, by what is behind the host, and by what stands beside it.
        ("""{"$id":"https://example.com/s/customer","properties":{"a":{"$ref":"/s/address"}},"$defs":{"address":{"$id":"/s/address","type":"object","properties":{"state":{"$ref":"#/$defs/state"}},"$defs":{"state":{"enum":["CA"]}}}}}""", """{"a":{"state":"CA"}}""", """{"a":{"state":"XX"}}"""),
        ("""{"$id":"https://example.com/s/customer","properties":{"a":{"$ref":"address"}},"$defs":{"address":{"$id":"/s/address","type":"boolean"}}}""", """{"a":true}""", """{"a":1}"""),
        ("""{"$id":"https://example.com/s/customer","properties":{"a":{"$ref":"https://example.com/s/address"}},"$defs":{"address":{"$id":"address","type":"boolean"}}}""", """{"a":true}""", """{"a":1}"""),
        ("""{"properties":{"a":{"$id":"https://a.example/","$ref":"x"}},"$defs":{"b":{"$id":"https://b.example/","$defs":{"x":{"$id":"x","type":"null"}}},"a":{"$id":"https://a.example/x","type":"boolean"}}}""", """{"a":true}""", """{"a":null}"""),

        // As TypeBox writes types that refer to themselves or to each other.
        ("""{"$id":"Node","type":"object","properties":{"nodes":{"type":"array","items":{"$ref":"Node"}}}}""", """{"nodes":[{"nodes":[]}]}""", """{"nodes":[1]}"""),
        ("""{"$ref":"Node","$defs":{"Node":{"$id":"Node","type":"object","properties":{"next":{"$ref":"Node"},"leaf":{"$ref":"Leaf"}}},"Leaf":{"$id":"Leaf","type":"null"}}}""", """{"next":{"leaf":null}}""", """{"next":{"leaf":1}}"""),
    ];

    [Test]
    public void A_reference_finds_a_schema_by_its_address([ValueSource(nameof(s_schemas))] (string Schema, string Valid, string Wrong) of)
    {
        ConstraintReader reader = ConstraintReader.OfSchema(of.Schema);
        Assert.That(reader.Accepts(of.Valid), Is.True);
        Assert.That(reader.Accepts(of.Wrong), Is.False);
    }

    [TestCase("""{"$ref":"https://example.com/b","$defs":{"x":{"$id":"https://example.com/a"}}}""")]
    [TestCase("""{"$ref":"https://example.com/a#name","$defs":{"x":{"$id":"https://example.com/a","$anchor":"name"}}}""")]
    [TestCase("""{"$ref":"https://example.com/a#/$defs/y","$defs":{"x":{"$id":"https://example.com/a"}}}""")]
    [TestCase("""{"$ref":"x","$defs":{"y":{"enum":[{"$id":"x"}],"default":{"$id":"x"},"properties":{"$id":{"const":"x"}}}}}""")]
    [TestCase("""{"$ref":"#name","$defs":{"x":{"$id":"#name"}}}""")]
    public void What_is_not_there_is_refused(string schema) =>
        Assert.That(() => KimiConstraint.JsonSchema(schema), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("only references inside the schema"));

    /// <summary>Each of them is relative to one that may be as long as the schema.</summary>
    [Test, CancelAfter(60_000)]
    public void Long_addresses_are_counted_where_they_are_put_together(CancellationToken cancellationToken)
    {
        string root = "https://example.com/" + new string('a', 50_000) + "/";
        string inner = string.Join(',', Enumerable.Range(0, 10_000).Select(i => $"\"d{i}\":{{\"$id\":\"{i}\"}}"));
        JsonElement schema = JsonElement.Parse($"{{\"$id\":\"{root}\",\"$ref\":\"7\",\"$defs\":{{{inner}}}}}");
        Assert.That(() => KimiConstraint.JsonSchema(schema, cancellationToken), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("32,000,000 entries"));
    }
}
