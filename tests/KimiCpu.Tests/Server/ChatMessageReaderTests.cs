// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI;

namespace KimiCpu.Tests.Server;

/// <summary>What conversation the messages of OpenAI's chats are.</summary>
[TestFixture]
internal sealed class ChatMessageReaderTests
{
    [TestCase("""{"reasoning":"a"}""", "a")]
    [TestCase("""{"reasoning_content":"b"}""", "b")]
    [TestCase("""{"reasoning":"a","reasoning_content":""}""", "a")]
    [TestCase("""{"reasoning_content":"","reasoning":"a"}""", "a")]
    [TestCase("""{"reasoning_content":"b","reasoning":""}""", "b")]
    [TestCase("""{"reasoning_content":"b","reasoning":null}""", "b")]
    [TestCase("""{"reasoning_content":"b","reasoning":"a"}""", "a")]
    [TestCase("{}", null)]
    public void Reasoning_is_read_by_both_of_its_names_as_the_templates_do(string fields, string? reasoning)
    {
        string message = $$"""{"role":"assistant","content":"Hi"{{(fields == "{}" ? "" : ",")}}{{fields[1..]}}""";
        KimiMessage read = new ChatMessageReader(10).Read(new JsonFields(JsonElement.Parse($$"""{"messages":[{{message}}]}"""))).Single();
        Assert.That((read.Content, read.Reasoning), Is.EqualTo(("Hi", reasoning)));
    }

    /// <summary>Of an answer that was cut off within its reasoning clients keep nothing else.</summary>
    [TestCase("\"content\":null,\"reasoning_content\":\"Well\"")]
    [TestCase("\"reasoning\":\"Well\"")]
    public void A_turn_of_reasoning_alone_needs_no_content(string fields)
    {
        IReadOnlyList<KimiMessage> read = ConversationReading.OpenAI($$"""{"role":"user","content":"a"},{"role":"assistant",{{fields}}},{"role":"user","content":"b"}""");
        Assert.That(read.Select(m => (m.Role, m.Content, m.Reasoning)), Is.EqualTo(new[] { (KimiRole.User, "a", null), (KimiRole.Assistant, "", "Well"), (KimiRole.User, "b", null) }));
    }

    [TestCase("\"content\":null")]
    [TestCase("\"content\":null,\"reasoning_content\":\"\"")]
    public void A_turn_of_nothing_is_refused(string fields) =>
        Assert.That(() => ConversationReading.OpenAI($$"""{"role":"assistant",{{fields}}}"""), Throws.TypeOf<RequestException>().With.Message.EqualTo("messages[0].content is required."));
}
