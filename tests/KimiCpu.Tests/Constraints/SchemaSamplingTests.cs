// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;
using NJsonSchema;
using static KimiCpu.Tests.Constraints.ExampleSchemas;

namespace KimiCpu.Tests.Constraints;

/// <summary>Random texts under the masks of schemas, judged by another implementation.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SchemaSamplingTests
{
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
