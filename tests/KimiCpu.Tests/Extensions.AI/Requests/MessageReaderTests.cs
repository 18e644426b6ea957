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

    /// <summary>Of a client that counts each turn's calls anew, and whose user did not wait for the first one.</summary>
    [Test]
    public void A_result_answers_the_latest_turn_with_its_id()
    {
        ChatMessage[] messages =
        [
            new(ChatRole.User, "What is the weather in Oslo?"),
            new(ChatRole.Assistant, [Call("call_0", "get_weather")]),
            new(ChatRole.User, "No, what time is it in Rome?"),
            new(ChatRole.Assistant, [Call("call_0", "get_time")]),
            new(ChatRole.Tool, [Result("call_0", "15:09")]),
        ];
        Assert.That(MessageReader.Read(messages, null)[^1], Is.EqualTo(KimiMessage.Tool("functions.get_time:1", "15:09")));
        messages[^1] = new(ChatRole.Tool, "15:09");
        Assert.That(MessageReader.Read(messages, null)[^1], Is.EqualTo(KimiMessage.Tool("functions.get_time:1", "15:09")), "and without one");
    }

    /// <summary>Instructions and results are messages of their own for the model; a caller counts his own.</summary>
    [Test]
    public void What_is_out_of_place_is_refused_with_the_callers_place()
    {
        Expect([new(ChatRole.User, "hi"), new(ChatRole.Tool, "12")], "messages[1] of role 'tool'", "FunctionResultContent");
        Expect([new(ChatRole.Assistant, [Call("a", "f"), Call("b", "f")]), new(ChatRole.Tool, [Result("a", "1"), Result("b", "2")]), new(ChatRole.Tool, [Result("", "3")])], "messages[2] of role 'tool'", "FunctionResultContent");
        Expect([new(ChatRole.User, [Call("a", "f")])], "messages[0] of role 'user'", "FunctionCallContent");

        static void Expect(ChatMessage[] messages, params string[] parts)
        {
            ArgumentException e = Assert.Throws<ArgumentException>(() => MessageReader.Read(messages, "instructions"))!;
            Assert.That(e.ParamName, Is.EqualTo("messages"));
            Assert.That(parts.Where(p => !e.Message.Contains(p, StringComparison.Ordinal)), Is.Empty, e.Message);
        }
    }

    /// <summary>As the approval of functions and providers of single items divide it.</summary>
    [Test]
    public void A_turn_that_was_divided_is_one_again()
    {
        ChatMessage[] messages =
        [
            new(ChatRole.Assistant, [new TextReasoningContent("r")]),
            new(ChatRole.Assistant, "t"),
            new(ChatRole.Assistant, [Call("a", "f")]),
            new(ChatRole.Assistant, [Call("b", "g")]),
            new(ChatRole.Tool, [Result("b", "2"), Result("a", "1")]),
            new(ChatRole.Assistant, "one"),
            new(ChatRole.Assistant, [new TextReasoningContent("s"), new TextContent("two")]),
            new(ChatRole.Assistant, [Call("a", "f")]) { AuthorName = "another agent" },
        ];
        KimiMessage[] expected =
        [
            KimiMessage.Assistant("t", "r") with { ToolCalls = [new KimiToolCall("functions.f:0", "f", "{}"), new KimiToolCall("functions.g:1", "g", "{}")] },
            KimiMessage.Tool("functions.g:1", "2"),
            KimiMessage.Tool("functions.f:0", "1"),
            KimiMessage.Assistant("one"),
            KimiMessage.Assistant("two", "s"),
            KimiMessage.Assistant("") with { ToolCalls = [new KimiToolCall("functions.f:2", "f", "{}")] },
        ];
        Assert.That(MessageReader.Read(messages, null), Is.EqualTo(expected));
    }

    [Test]
    public void Texts_and_results_of_one_message_stay_in_their_order()
    {
        (ChatRole Role, AIContent[] Contents, (KimiRole, string?, string)[] Shown)[] cases =
        [
            (ChatRole.User, [Result("a", "12"), new TextContent("And?")], [(KimiRole.Tool, "functions.f:0", "12"), (KimiRole.User, null, "And?")]),
            (ChatRole.User, [new TextContent("Here:"), Result("a", "12")], [(KimiRole.User, null, "Here:"), (KimiRole.Tool, "functions.f:0", "12")]),
            (ChatRole.Assistant, [new TextContent("one"), Result("a", "12"), new TextContent("two")], [(KimiRole.Assistant, null, "one"), (KimiRole.Tool, "functions.f:0", "12"), (KimiRole.Assistant, null, "two")]),
            (ChatRole.Assistant, [Result("b", "1"), Result("a", "2")], [(KimiRole.Tool, "functions.f:1", "1"), (KimiRole.Tool, "functions.f:0", "2")]),
            (ChatRole.User, [], [(KimiRole.User, null, "")]),
        ];
        foreach ((ChatRole role, AIContent[] contents, (KimiRole, string?, string)[] shown) in cases)
        {
            Assert.That(ReadAfterTwoCalls(role, contents), Is.EqualTo(shown));
        }
    }

    [Test]
    public void Text_of_a_tool_belongs_to_the_result_beside_it_and_answers_no_other_call()
    {
        Expect([new TextContent("The "), new TextContent("weather:"), Result("b", "12")], (KimiRole.Tool, "functions.f:1", "The weather:\n12"));
        Expect([Result("b", "12"), new TextContent("degrees")], (KimiRole.Tool, "functions.f:1", "12\ndegrees"));
        Expect([Result("b", "12"), new TextContent("degrees"), Result("a", "13")], (KimiRole.Tool, "functions.f:1", "12\ndegrees"), (KimiRole.Tool, "functions.f:0", "13"));
        Expect([new TextContent("12 degrees")], (KimiRole.Tool, "functions.f:0", "12 degrees"));

        static void Expect(AIContent[] contents, params (KimiRole, string?, string)[] shown) => Assert.That(ReadAfterTwoCalls(ChatRole.Tool, contents), Is.EqualTo(shown));
    }

    /// <summary>A stream of a server that runs tools itself comes as one message.</summary>
    [Test]
    public void Calls_come_before_their_results_and_reasoning_before_what_it_led_to()
    {
        ChatMessage message = new(ChatRole.Assistant, [new TextReasoningContent("r1"), Call("a", "f"), Result("a", "12"), new TextReasoningContent("r2"), new TextContent("It is 12.")]);
        IReadOnlyList<KimiMessage> read = MessageReader.Read([message], null);
        KimiMessage[] expected =
        [
            KimiMessage.Assistant("", "r1") with { ToolCalls = [new KimiToolCall("functions.f:0", "f", "{}")] },
            KimiMessage.Tool("functions.f:0", "12"),
            KimiMessage.Assistant("It is 12.", "r2"),
        ];
        Assert.That(read, Is.EqualTo(expected));
    }

    /// <summary>The model would see an empty turn, or take it for the result of the next call.</summary>
    [Test]
    public void Reasoning_of_others_than_the_assistant_is_refused()
    {
        ChatMessage[][] wrong =
        [
            [new(ChatRole.User, [new TextReasoningContent("r")])],
            [new(ChatRole.Assistant, [Call("a", "f"), Call("b", "f")]), new(ChatRole.Tool, [Result("a", "12"), new TextReasoningContent("r")]), new(ChatRole.Tool, [Result("b", "13")])],
        ];
        foreach (ChatMessage[] messages in wrong)
        {
            int place = messages.Length == 1 ? 0 : 1;
            Assert.That(
                () => MessageReader.Read(messages, null),
                Throws.ArgumentException.With.Message.Contains($"messages[{place}] of role '{messages[place].Role}' has TextReasoningContent; only the assistant reasons."));
        }
    }

    [Test]
    public void Reasoning_that_others_protect_is_not_read()
    {
        ChatMessage message = new(ChatRole.Assistant, [new TextReasoningContent("") { ProtectedData = "gAAAAABencrypted" }, new TextContent("Hi")]);
        Assert.That(MessageReader.Read([message], null).Single(), Is.EqualTo(KimiMessage.Assistant("Hi")));
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
            (new ErrorContent("no such city"), "Error: no such city"),
            (new AIContent[] { new TextContent("Here:"), new DataContent(new byte[12345], "image/png"), new UriContent("https://example.com/a.png", "image/png") },
                "Here:\n(image/png, 12,345 bytes, which this model is not shown)\n(image/png at https://example.com/a.png, which this model is not shown)"),
            (JsonElement.Parse("""[{"$type":"other"}]"""), """[{"$type":"other"}]"""),
            (JsonElement.Parse("[]"), "[]"),
            (new UriContent("data:image/png;base64,AQID", "image/png"), "(image/png in its URI, which this model is not shown)"),
        ];
        foreach ((object? result, string shown) in cases)
        {
            Assert.That(ToolResultText.Of(new FunctionResultContent("id", result)), Is.EqualTo(shown));
        }

        Assert.That(ToolResultText.Of(new FunctionResultContent("id", null) { Exception = new InvalidOperationException("broken") }), Is.EqualTo("Error: broken"));
    }

    [Test]
    public void Contents_that_were_saved_with_their_conversation_are_shown_as_before()
    {
        Expect(new TextContent("12"), "12");
        Expect(Array.Empty<AIContent>(), "[]");
        Expect(new AIContent[] { new TextContent("12"), new DataContent(new byte[] { 1 }, "image/png"), new ErrorContent("late") }, "12\n(image/png, 1 bytes, which this model is not shown)\nError: late");
        Expect(new List<AIContent> { new UriContent("https://example.com/a.png", "image/png") }, "(image/png at https://example.com/a.png, which this model is not shown)");

        static void Expect(object result, string shown)
        {
            Assert.That(ToolResultText.Of(new FunctionResultContent("id", result)), Is.EqualTo(shown));
            string saved = JsonSerializer.Serialize(new ChatMessage(ChatRole.Tool, [new FunctionResultContent("id", result)]), AIJsonUtilities.DefaultOptions);
            var read = (FunctionResultContent)JsonSerializer.Deserialize<ChatMessage>(saved, AIJsonUtilities.DefaultOptions)!.Contents.Single();
            Assert.That(read.Result, Is.TypeOf<JsonElement>());
            Assert.That(ToolResultText.Of(read), Is.EqualTo(shown));
        }
    }

    /// <summary>As of a function whose results are of several kinds, which it names as contents name theirs.</summary>
    [TestCase("""{"$type":"error","code":404,"path":"/x"}""")]
    [TestCase("""{"$type":"error","message":"no such file","path":"/x"}""")]
    [TestCase("""{"$type":"text","body":"12 degrees"}""")]
    [TestCase("""{"$type":"text","text":["12 degrees"]}""")]
    [TestCase("""{"$type":"data","rows":[1,2]}""")]
    [TestCase("""{"$type":"data","uri":"https://example.com/a.png"}""")]
    [TestCase("""{"$type":"uri","href":"https://example.com"}""")]
    [TestCase("""{"$type":"uri","uri":"https://example.com","mediaType":"no type"}""")]
    [TestCase("""{"text":"12 degrees","$type":"text"}""")]
    [TestCase("""{"$type":5}""")]
    public void Json_that_only_has_a_type_in_common_with_contents_is_shown_as_it_is(string json)
    {
        foreach (string shown in new[] { json, $"[{json}]", $$"""[{"$type":"text","text":"t"},{{json}}]""" })
        {
            Assert.That(ToolResultText.Of(new FunctionResultContent("id", JsonElement.Parse(shown))), Is.EqualTo(shown));
        }
    }

    [Test]
    public void Results_and_arguments_that_cannot_be_shown_are_refused_with_their_call()
    {
        var circle = new List<object>();
        circle.Add(circle);
        foreach (object result in (object[])[circle, new Broken(), new HostedFileContent("file"), new AIContent[] { null! }])
        {
            Assert.That(() => ToolResultText.Of(new FunctionResultContent("call_7", result)), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("result of the call 'call_7'"));
        }

        Assert.That(() => ToolCallText.Of(Call("call_7", "f", new() { ["a"] = circle })), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("arguments of the call 'call_7' of 'f'"));
        Assert.That(() => ToolCallText.Of(Call("call_7", "f", new() { ["a"] = new Broken() })), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("arguments of the call 'call_7' of 'f'"));
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
        broken.Exception = null;
        Assert.That(ToolCallText.Of(broken).Arguments, Is.EqualTo("{}"), "as where middleware copies a call without it");
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
            Assert.That(() => MessageReader.Read([new(ChatRole.User, [content])], null), Throws.InstanceOf<NotSupportedException>().With.Message.Contains(content.GetType().Name).And.Message.Contains("messages[0]"));
        }

        Assert.That(() => MessageReader.Read([new(new ChatRole("narrator"), "once")], null), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("narrator"));
        Assert.That(() => MessageReader.Read([], "instructions"), Throws.ArgumentException);
    }

    private static IEnumerable<(KimiRole, string?, string)> ReadAfterTwoCalls(ChatRole role, AIContent[] contents) =>
        MessageReader.Read([new(ChatRole.Assistant, [Call("a", "f"), Call("b", "f")]), new(role, contents)], null).Skip(1).Select(m => (m.Role, m.ToolCallId, m.Content));

    private static FunctionResultContent Result(string id, string text) => new(id, text);

    private static FunctionCallContent Call(string id, string name, Dictionary<string, object?>? arguments = null) => new(id, name, arguments ?? []);

    private sealed class Broken
    {
        public string Value => throw new TimeoutException("nobody answers");
    }
}
