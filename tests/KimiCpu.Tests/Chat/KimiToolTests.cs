// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;

namespace KimiCpu.Tests.Chat;

[TestFixture]
internal sealed class KimiToolTests
{
    [Test]
    public void A_tool_is_declared_as_it_was_described()
    {
        var tool = new KimiTool("f", "does <f>", """{"type": "object", "properties": {"x": {"type": "number", "default": 1.50}}}""");
        Assert.That((tool.Name, tool.Description), Is.EqualTo(("f", "does <f>")));
        Assert.That(tool.Parameters!.Value.GetProperty("properties").GetProperty("x").GetProperty("default").GetRawText(), Is.EqualTo("1.50"));
        Assert.That(
            ToolDeclarations.Write([tool, new KimiTool("now")], ChatFormat.Nano),
            Is.EqualTo("""[{"type":"function","function":{"name":"f","description":"does <f>","parameters":{"type":"object","properties":{"x":{"type":"number","default":1.5}}}}},{"type":"function","function":{"name":"now"}}]"""));
        Assert.That(new KimiTool("f", null, JsonElement.Parse("""{"type":"object"}""")).Parameters!.Value.ValueKind, Is.EqualTo(JsonValueKind.Object));
    }

    [Test]
    public void Bad_tools_are_refused()
    {
        Assert.That(() => new KimiTool(" "), Throws.ArgumentException);
        Assert.That(() => new KimiTool("f", null, "{"), Throws.ArgumentException.With.Message.Contains("no JSON"));
        Assert.That(() => new KimiTool("f", null, "[]"), Throws.ArgumentException.With.Message.Contains("object"));
        Assert.That(() => new KimiTool("f", null, """{"x":"\ud800"}"""), Throws.ArgumentException.With.Message.Contains("'f'"));
        using JsonDocument deep = JsonDocument.Parse(new string('[', 500) + new string(']', 500), new JsonDocumentOptions { MaxDepth = 1000 });
        JsonElement root = JsonElement.Parse("""{"a":1}""");
        Assert.That(() => new KimiTool("f", null, deep.RootElement), Throws.ArgumentException);
        using JsonDocument nested = JsonDocument.Parse("{\"a\":" + new string('[', 500) + new string(']', 500) + "}", new JsonDocumentOptions { MaxDepth = 1000 });
        Assert.That(() => new KimiTool("f", null, nested.RootElement), Throws.ArgumentException);
        Assert.That(new KimiTool("f", null, root).Name, Is.EqualTo("f"));
    }
}
