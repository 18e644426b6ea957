// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Tests.Chat;

/// <summary>What the chat fixtures do not reach; expectations by the independent implementation of the fixtures.</summary>
[TestFixture]
internal sealed class TypeScriptToolsTests
{
    [TestCase("""{"properties":{"a":true,"b":false,"c":{}}}""", "{\n  a?: any,\n  b?: null,\n  c?: any\n}")]
    [TestCase("""{"properties":{"a":{"enum":["x",1,true,null,2.50]}}}""", "{\n  a?: \"x\" | 1 | True | None | 2.5\n}")]
    [TestCase("""{"properties":{"a":{"type":["object","array","integer"],"description":"one\n\ntwo"}}}""", "{\n  // one\n\n  // two\n  a?: {} | Array<any> | number\n}")]
    [TestCase("""{"properties":{"a":{"type":"array","maxItems":3,"items":{}}},"additionalProperties":true}""", "{\n  // maxItems: 3\n  a?: Array<any>,\n  [k: string]: any\n}")]
    [TestCase("""{"properties":{"a":{"type":"object","default":{"z":1,"a":[true]}}},"required":["a","missing"]}""", "{\n  // Default: {\"a\": [true], \"z\": 1}\n  a: {}\n}")]
    [TestCase("""{"properties":{"a":{"enum":["x",null],"type":["string","null"],"default":false}}}""", "{\n  // Default: False\n  a?: \"x\" | None\n}")]
    [TestCase("""{"properties":{"a":{"type":"file","default":null,"maximum":5}}}""", "{\n  a?: file\n}")]
    public void Schemas_become_types(string parameters, string type)
    {
        Assert.That(TypeScriptTools.TryWrite([new KimiTool("f", null, parameters)], out string? text), Is.True);
        Assert.That(text, Is.EqualTo($"# Tools\n\n## functions\nnamespace functions {{\ntype f = (_: {type}) => any;\n}}\n"));
    }

    [TestCase("""{"properties":{"a":{"oneOf":[]}}}""")]
    [TestCase("""{"properties":{"a":{"$ref":"other.json"}}}""")]
    [TestCase("""{"properties":{"a":{"$ref":"#/$defs/Missing"}}}""")]
    [TestCase("""{"properties":{"a":{"enum":[1],"type":"string"}}}""")]
    [TestCase("""{"properties":{"a":{"enum":[1],"type":["string","number"]}}}""")]
    [TestCase("""{"properties":{"a":{"type":["string","file"]}}}""")]
    [TestCase("""{"properties":{"a":{"type":"array","items":[{}]}}}""")]
    [TestCase("""{"properties":{"a":7}}""")]
    [TestCase("""{"$defs":{"A":true}}""")]
    [TestCase("""{"properties":[]}""")]
    [TestCase("""{"properties":{"a":{"type":"string","description":3}}}""")]
    [TestCase("""{"properties":{"a":{"type":"string"}},"required":null}""")]
    public void What_cannot_be_expressed_is_declared_as_JSON(string parameters)
    {
        var tool = new KimiTool("f", null, parameters);
        Assert.That(TypeScriptTools.TryWrite([tool], out _), Is.False);
        Assert.That(ToolDeclarations.Write([tool], ChatFormat.K25), Does.StartWith("[{\"function\":{\"name\":\"f\""));
    }
}
