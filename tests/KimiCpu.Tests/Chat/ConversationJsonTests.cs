// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;

namespace KimiCpu.Tests.Chat;

[TestFixture]
internal sealed class ConversationJsonTests
{
    [Test]
    public void Messages_are_read_with_all_their_parts()
    {
        Conversation conversation = Read("""
            {"messages": [
              {"role": "developer", "content": "rules"},
              {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
              {"role": "assistant", "content": null, "reasoning": "", "reasoning_content": "hm", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": {"b": 1.0, "a": "é"}}}, {"function": {"name": "g", "arguments": "{ }"}}]},
              {"role": "tool", "tool_call_id": "x", "content": "r"}],
             "tools": null, "thinking": false}
            """);
        Assert.That(conversation.Messages[0], Is.EqualTo(KimiMessage.System("rules") with { Name = "developer", HasOtherRole = true, ToolCalls = conversation.Messages[0].ToolCalls }));
        Assert.That((conversation.Messages[1].Name, conversation.Messages[1].Content), Is.EqualTo(("ann", "ab")));
        KimiMessage answer = conversation.Messages[2];
        Assert.That((answer.Content, answer.Reasoning), Is.EqualTo(("", "hm")));
        Assert.That(answer.ToolCalls, Is.EqualTo(new[] { new KimiToolCall("x", "f", """{"b": 1.0, "a": "é"}"""), new KimiToolCall("", "g", "{ }") }));
        Assert.That((conversation.Messages[3].Role, conversation.Messages[3].ToolCallId), Is.EqualTo((KimiRole.Tool, "x")));
        Assert.That((conversation.Thinking, conversation.PreserveThinking, conversation.GenerationPrompt), Is.EqualTo(((bool?)false, (bool?)null, (bool?)null)));
        Assert.That(Read("""[{"role": "user", "content": "hi"}]""").Messages.Single().Content, Is.EqualTo("hi"));
    }

    [TestCase("{", "JSON")]
    [TestCase("7", "expected an object")]
    [TestCase("{}", "messages: expected an array, found nothing")]
    [TestCase("""{"messages":[{"content":"x"}]}""", "messages[0].role is missing")]
    [TestCase("""{"messages":[{"role":"user","content":7}]}""", "messages[0].content: expected a text, found number")]
    [TestCase("""{"messages":[{"role":"user","content":"\ud800"}]}""", "JSON")]
    [TestCase("""{"messages":[{"role":"user","content":[{"type":"text"}]}]}""", "messages[0].content[0].text is missing")]
    [TestCase("""{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}]}""", "messages[0].tool_calls[0].function.arguments is missing")]
    [TestCase("""{"messages":[],"tools":[{"type":"function"}]}""", "tools[0]: A tool is an object")]
    [TestCase("""{"messages":[],"tools":[{"type":"web_search","function":{"name":"f"}}]}""", "tools[0]: A tool is an object")]
    [TestCase("""{"messages":[],"tools":[{"type":null,"function":{"name":"f"}}]}""", "tools[0]: A tool is an object")]
    [TestCase("""{"messages":[],"tools":[{"function":{"name":"f","x":"\ud800"}}]}""", "tools[0]")]
    [TestCase("""{"messages":[],"thinking":1}""", "thinking: expected true or false")]
    public void Mistakes_are_told_with_their_place(string json, string message) =>
        Assert.That(() => Read(json), Throws.TypeOf<FormatException>().With.Message.Contains(message));

    [Test]
    public void Files_may_begin_with_a_byte_order_mark() =>
        Assert.That(ConversationJson.Read((byte[])[.. Encoding.UTF8.Preamble, .. """[{"role":"user","content":"hi"}]"""u8]).Messages.Single().Content, Is.EqualTo("hi"));

    [Test]
    public void Images_are_not_supported() => Assert.That(
        () => Read("""{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"""),
        Throws.TypeOf<NotSupportedException>().With.Message.Contains("messages[0].content[0] is of type 'image_url'"));

    private static Conversation Read(string json) => ConversationJson.Read(Encoding.UTF8.GetBytes(json));
}
