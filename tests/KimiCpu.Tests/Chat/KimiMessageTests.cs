// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Chat;

[TestFixture]
internal sealed class KimiMessageTests
{
    [Test]
    public void Null_is_refused_where_a_message_is_made()
    {
        Assert.That(() => KimiMessage.System(null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.User(null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.Assistant(null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.Tool("f:0", null!), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("content"));
        Assert.That(() => KimiMessage.Tool(null!, "r"), Throws.ArgumentNullException.With.Property("ParamName").EqualTo("toolCallId"));
    }

    [Test]
    public void Conversations_survive_JSON_without_reflection()
    {
        List<KimiMessage> messages =
        [
            KimiMessage.System("s") with { Name = "n" },
            KimiMessage.Assistant("a", "r") with { ToolCalls = [new("f:0", "f", "{}")], GeneratedTokens = [1, 2] },
            KimiMessage.Tool("f:0", "x"),
        ];
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(messages, KimiJsonContext.Default.ListKimiMessage);
        Assert.That(JsonSerializer.Deserialize(json, KimiJsonContext.Default.ListKimiMessage), Is.EqualTo(messages));
        Assert.That(JsonSerializer.SerializeToUtf8Bytes(messages), Is.EqualTo(json), "as by reflection");
    }

    [Test]
    public void Messages_that_say_the_same_are_equal_and_show_it()
    {
        static KimiMessage Answer(int token) => KimiMessage.Assistant("a") with { ToolCalls = [new("f:0", "f", "{}")], GeneratedTokens = [1, token] };
        KimiMessage answer = Answer(2);
        Assert.That(Answer(2), Is.EqualTo(answer));
        Assert.That(Answer(2).GetHashCode(), Is.EqualTo(answer.GetHashCode()));
        Assert.That(Answer(3), Is.Not.EqualTo(answer));
        Assert.That(answer.ToString(), Does.Contain("GeneratedTokens = [1, 2]").And.Contain("Name = f,"));
    }

    [Test]
    public void Roles_are_names_in_JSON_and_numbers_are_read()
    {
        Assert.That(JsonSerializer.Serialize(FinishReason.Length), Is.EqualTo("\"Length\""));
        Assert.That(JsonSerializer.Serialize(KimiMessage.Tool("a", "b")), Does.StartWith("""{"Role":"Tool","""));
        Assert.That(Read("""{"Role":3,"Content":"b"}""").Role, Is.EqualTo(KimiRole.Tool));
        Assert.That(Read("""{"Role":"tool","Content":"b"}""").Role, Is.EqualTo(KimiRole.Tool));
    }

    [Test]
    public void What_JSON_leaves_out_has_its_default() => Assert.That(Read("""{"Role":"User","Content":"b"}"""), Is.EqualTo(KimiMessage.User("b")));

    private static KimiMessage Read(string json)
    {
        KimiMessage message = JsonSerializer.Deserialize(json, KimiJsonContext.Default.KimiMessage)!;
        Assert.That(JsonSerializer.Deserialize<KimiMessage>(json), Is.EqualTo(message), "as by reflection");
        return message;
    }
}
