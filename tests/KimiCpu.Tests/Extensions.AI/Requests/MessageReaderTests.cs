// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Extensions.AI.Requests;

[TestFixture]
internal sealed class MessageReaderTests
{
    [Test]
    public void Null_is_refused_with_its_place()
    {
        Expect([new(ChatRole.User, "a"), null!], "messages[1] is null");
        Expect([new(ChatRole.User, [new TextContent("a"), null!])], "messages[0].Contents[1] is null");

        static void Expect(ChatMessage[] messages, string problem) =>
            Assert.That(() => MessageReader.Read(messages, null), Throws.ArgumentException.With.Property(nameof(ArgumentException.ParamName)).EqualTo("messages").And.Message.Contains(problem));
    }

    [Test]
    public void Roles_names_and_contents_are_kept_in_order()
    {
        ChatMessage[] messages =
        [
            new(ChatRole.System, "s") { AuthorName = "policy" },
            new(new ChatRole("developer"), "d"),
            new(ChatRole.User, [new TextContent("a"), new TextContent("b")]) { AuthorName = "Anna" },
            new(ChatRole.Assistant, [new TextReasoningContent("r"), new TextContent("t"), new UsageContent()]) { AuthorName = "Agent" },
        ];
        (KimiRole, string, string?, string?)[] expected =
        [
            (KimiRole.System, "first", null, null),
            (KimiRole.System, "s", null, "policy"),
            (KimiRole.System, "d", null, null),
            (KimiRole.User, "ab", null, "Anna"),
            (KimiRole.Assistant, "t", "r", null),
        ];
        Assert.That(MessageReader.Read(messages, "first").Select(m => (m.Role, m.Content, m.Reasoning, m.Name)), Is.EqualTo(expected));
    }

    [Test]
    public void Foreign_ids_become_those_that_the_models_know()
    {
        ChatMessage[] messages =
        [
            new(ChatRole.User, "?"),
            new(ChatRole.Assistant, [Call("call_abc", "f"), Call("functions.g:1", "g"), Call("functions.g:x", "g")]),
            new(ChatRole.Tool, [new FunctionResultContent("functions.g:1", "one"), new FunctionResultContent("call_abc", "zero")]),
            new(ChatRole.Tool, [new FunctionResultContent("functions.g:x", "two")]),
            new(ChatRole.Assistant, [Call("call_abc", "h")]),
            new(ChatRole.Tool, [new FunctionResultContent("call_abc", "three")]),
        ];
        IReadOnlyList<KimiMessage> read = MessageReader.Read(messages, null);
        string[] ids = ["functions.f:0", "functions.g:1", "functions.g:2", "functions.h:3"];
        Assert.That(read.SelectMany(m => m.ToolCalls).Select(c => c.Id), Is.EqualTo(ids));
        (string?, string)[] results = [(ids[1], "one"), (ids[0], "zero"), (ids[2], "two"), (ids[3], "three")];
        Assert.That(read.Where(m => m.Role == KimiRole.Tool).Select(m => (m.ToolCallId, m.Content)), Is.EqualTo(results));
    }

    [Test]
    public void Results_are_shown_as_text_or_compact_json()
    {
        (object? Result, string Shown)[] cases =
        [
            ("plain", "plain"),
            (JsonElement.Parse("\"quoted\""), "quoted"),
            (JsonElement.Parse("""{"a": 1}"""), """{"a":1}"""),
            (12.5, "12.5"),
            (null, ""),
            (new Dictionary<string, object?> { ["city"] = "東京", ["days"] = new[] { 1, 2 } }, """{"city":"東京","days":[1,2]}"""),
            ("a \"quoted\" 😀", "a \"quoted\" 😀"),
            (new[] { "<é😀\u00a0\u3000>", "\"\\\n\u0001" }, "[\"<é😀\u00a0\u3000>\",\"\\\"\\\\\\n\\u0001\"]"),
            (new[] { "half \ud83d" }, "[\"half \ufffd\"]"),
            (JsonElement.Parse("""{"a": "\u003c\ud83d\ude00", "b": 1.10}"""), """{"a":"<😀","b":1.10}"""),
            (new TextContent("part"), "part"),
            (new AIContent[] { new TextContent("p1"), new TextContent("p2") }, "p1\np2"),
            (DayOfWeek.Monday, "\"Monday\""),
        ];
        foreach ((object? result, string shown) in cases)
        {
            Assert.That(ToolResultText.Of(new FunctionResultContent("id", result)), Is.EqualTo(shown));
        }

        Assert.That(ToolResultText.Of(new FunctionResultContent("id", null) { Exception = new InvalidOperationException("broken") }), Is.EqualTo("Error: broken"));
        var image = new FunctionResultContent("id", new DataContent(new byte[] { 1 }, "image/png"));
        Assert.That(() => ToolResultText.Of(image), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("DataContent"));
    }

    [Test]
    public void Own_calls_keep_their_text_unless_their_arguments_were_changed()
    {
        var own = new KimiToolCall("functions.f:0", "f", """{"b": 1,  "a": "x"}""");
        FunctionCallContent content = Call(own.Id, "f", new() { ["b"] = 1, ["a"] = "x" });
        content.RawRepresentation = own;
        Assert.That(ToolCallText.Of(content), Is.EqualTo(own));
        content.Arguments!["a"] = "y";
        Assert.That(ToolCallText.Of(content).Arguments, Is.EqualTo("""{"b": 1, "a": "y"}"""), "as the model would write them");
        content.Arguments["a"] = "<é😀>";
        Assert.That(ToolCallText.Of(content).Arguments, Is.EqualTo("""{"b": 1, "a": "<é😀>"}"""));
        var broken = new FunctionCallContent(own.Id, "f") { Exception = new JsonException(), RawRepresentation = own with { Arguments = "{oops" } };
        Assert.That(ToolCallText.Of(broken).Arguments, Is.EqualTo("{oops"));
        Assert.That(ToolCallText.Of(new FunctionCallContent("", "f")).Arguments, Is.EqualTo("{}"));
    }

    [Test]
    public void What_is_no_text_is_refused_by_name()
    {
        AIContent[] contents =
        [
            new DataContent(new byte[] { 1 }, "image/png"),
            new UriContent("https://example.com/a.png", "image/png"),
            new HostedFileContent("file"),
            new ErrorContent("bad"),
        ];
        foreach (AIContent content in contents)
        {
            Assert.That(() => MessageReader.Read([new(ChatRole.User, [content])], null), Throws.InstanceOf<NotSupportedException>().With.Message.Contains(content.GetType().Name));
        }

        Assert.That(() => MessageReader.Read([new(new ChatRole("narrator"), "once")], null), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("narrator"));
        Assert.That(() => MessageReader.Read([], "instructions"), Throws.ArgumentException);
    }

    private static FunctionCallContent Call(string id, string name, Dictionary<string, object?>? arguments = null) => new(id, name, arguments ?? []);
}
