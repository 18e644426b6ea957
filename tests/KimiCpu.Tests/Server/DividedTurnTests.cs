// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Tests.Server;

/// <summary>
/// Clients divide what the model said in one turn, as when a user has to approve a call. The model would read an empty turn that it never wrote, which also ends what it is shown
/// of its reasoning.
/// </summary>
[TestFixture]
internal sealed class DividedTurnTests
{
    private static readonly KimiMessage[] s_whole =
    [
        KimiMessage.User("How is Oslo?"),
        KimiMessage.Assistant("", "I need the tool.") with { ToolCalls = [new KimiToolCall("functions.get_weather:0", "get_weather", "{}"), new KimiToolCall("functions.get_time:1", "get_time", "{}")] },
        KimiMessage.Tool("functions.get_weather:0", "12 degrees"),
        KimiMessage.Tool("functions.get_time:1", "noon"),
    ];

    [Test]
    public void Messages_of_Anthropics_interface_are_one_turn() => Assert.That(ConversationReading.Anthropic("""
        {"role":"user","content":"How is Oslo?"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"I need the tool.","signature":"kimicpu"}]},
        {"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{}}]},
        {"role":"assistant","content":[{"type":"tool_use","id":"toolu_2","name":"get_time","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"12 degrees"},{"type":"tool_result","tool_use_id":"toolu_2","content":"noon"}]}
        """), Is.EqualTo(s_whole));

    [Test]
    public void Messages_of_OpenAIs_interface_are_one_turn() => Assert.That(ConversationReading.OpenAI("""
        {"role":"user","content":"How is Oslo?"},
        {"role":"assistant","content":"","reasoning_content":"I need the tool."},
        {"role":"assistant","content":null,"tool_calls":[{"id":"call_a","type":"function","function":{"name":"get_weather","arguments":"{}"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"call_b","type":"function","function":{"name":"get_time","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"call_a","content":"12 degrees"},{"role":"tool","tool_call_id":"call_b","content":"noon"}
        """), Is.EqualTo(s_whole));

    [Test]
    public void Messages_of_Ollamas_interface_are_one_turn() => Assert.That(ConversationReading.Ollama("""
        {"role":"user","content":"How is Oslo?"},
        {"role":"assistant","content":"","thinking":"I need the tool."},
        {"role":"assistant","content":"","tool_calls":[{"function":{"name":"get_weather","arguments":{}}}]},
        {"role":"assistant","content":"","tool_calls":[{"function":{"name":"get_time","arguments":{}}}]},
        {"role":"tool","tool_name":"get_weather","content":"12 degrees"},{"role":"tool","tool_name":"get_time","content":"noon"}
        """), Is.EqualTo(s_whole));

    [Test]
    public void Answers_and_what_several_agents_said_stay_apart()
    {
        Assert.That(ConversationReading.OpenAI("""
            {"role":"assistant","content":"One."},{"role":"assistant","content":"Two."},
            {"role":"assistant","name":"a","content":"","reasoning":"Hm."},
            {"role":"assistant","name":"b","content":"","tool_calls":[{"id":"call_a","type":"function","function":{"name":"get_weather","arguments":"{}"}}]}
            """).Select(m => (m.Content, m.Reasoning, m.ToolCalls.Count)), Is.EqualTo(new[] { ("One.", (string?)null, 0), ("Two.", null, 0), ("", "Hm.", 0), ("", null, 1) }));
    }
}
