// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI.Responses;

namespace KimiCpu.Tests.Server;

/// <summary>What conversation the input of a response is.</summary>
[TestFixture]
internal sealed class ResponsesInputTests
{
    [Test]
    public void What_the_model_said_in_several_items_is_one_message()
    {
        IReadOnlyList<KimiMessage> conversation = Read("""
            {"instructions":"Be brief.","input":[
             {"role":"developer","content":"Use tools."},
             {"type":"message","role":"user","content":[{"type":"input_text","text":"Weather "},{"type":"input_text","text":"in Oslo?"}]},
             {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"I need "},{"type":"reasoning_text","text":"the tool."}]},
             {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Let me look.","annotations":[]}]},
             {"type":"function_call","call_id":"call_a","name":"get_weather","arguments":"{\"city\":\"Oslo\"}"},
             {"type":"function_call","call_id":"call_b","name":"get_time","arguments":""},
             {"type":"function_call_output","call_id":"call_b","output":"noon"},
             {"type":"function_call_output","call_id":"call_a","output":[{"type":"input_text","text":"12 degrees"}]},
             {"type":"message","role":"assistant","content":"12 degrees at noon."},
             {"role":"user","content":"Thanks"}]}
            """);
        KimiMessage[] expected =
        [
            KimiMessage.System("Be brief."),
            KimiMessage.System("Use tools."),
            KimiMessage.User("Weather in Oslo?"),
            KimiMessage.Assistant("Let me look.", "I need the tool."),
            KimiMessage.Tool("functions.get_time:1", "noon"),
            KimiMessage.Tool("functions.get_weather:0", "12 degrees"),
            KimiMessage.Assistant("12 degrees at noon."),
            KimiMessage.User("Thanks"),
        ];
        Assert.That(conversation.Select(m => m with { ToolCalls = [] }), Is.EqualTo(expected.Select(m => m with { ToolCalls = [] })));
        Assert.That(conversation[3].ToolCalls, Is.EqualTo(new[] { new KimiToolCall("functions.get_weather:0", "get_weather", """{"city":"Oslo"}"""), new KimiToolCall("functions.get_time:1", "get_time", "{}") }));
    }

    [Test]
    public void A_further_turn_of_the_model_begins_a_message_of_its_own()
    {
        IReadOnlyList<KimiMessage> conversation = Read("""
            {"input":[{"role":"user","content":"Hi"},{"role":"assistant","content":"One."},{"role":"assistant","content":"Two."},
             {"type":"reasoning","summary":[{"type":"summary_text","text":"Hm."}],"encrypted_content":"gAAAAA"},{"role":"assistant","content":[{"type":"refusal","refusal":"No."}]},
             {"type":"reasoning","summary":[],"encrypted_content":"gAAAAA"}]}
            """);
        Assert.That(conversation.Select(m => (m.Content, m.Reasoning)), Is.EqualTo(new[] { ("Hi", (string?)null), ("One.", null), ("Two.", null), ("No.", "Hm.") }));
    }

    [Test]
    public void A_text_is_what_the_user_says() =>
        Assert.That(Read("""{"input":"Hi","instructions":""}""").Single(), Is.EqualTo(KimiMessage.User("Hi")));

    private static IReadOnlyList<KimiMessage> Read(string request) => new InputReader(100).Read(new JsonFields(JsonDocument.Parse(request).RootElement));
}
