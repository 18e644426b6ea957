// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Server.Http;

namespace KimiCpu.Tests.Server.Http;

/// <summary>Clients that cut a text within a character keep the half in their conversation, and every later request has it.</summary>
[TestFixture]
internal sealed class SurrogateHalvesTests
{
    [TestCase("""{"x\ud83dy":"\udc00"}""", """{"x\ufffdy":"\ufffd"}""")]
    [TestCase("""["\uD83D","\uDFFF "]""", """["\ufffd","\ufffd "]""")]
    [TestCase("""["\ud83d\ude00","\uD83D\uDE00"]""", """["\ud83d\ude00","\uD83D\uDE00"]""")]
    [TestCase("""["\ud83d\ud83d\ude00","\ude00\ud83d","\ud83d\n\ude00"]""", """["\ufffd\ud83d\ude00","\ufffd\ufffd","\ufffd\n\ufffd"]""")]
    [TestCase("""["\\ud83d","\\\\ud83d","\"ud83d"]""", """["\\ud83d","\\\\ud83d","\"ud83d"]""", Description = "of escaped backslashes")]
    [TestCase("""["\\\ud83d","\"\ud83d"]""", """["\\\ufffd","\"\ufffd"]""")]
    [TestCase("""["\ud7ff\ue000\u0041\ufffd"]""", """["\ud7ff\ue000\u0041\ufffd"]""")]
    [TestCase("""["\ud83""", """["\ud83""", Description = "no JSON, as its reader says")]
    [TestCase("""["\ud8zz\d83d\""", """["\ud8zz\d83d\""", Description = "no JSON either")]
    public void Halves_that_are_alone_are_replaced_and_nothing_else(string sent, string read)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(sent);
        SurrogateHalves.Replace(bytes);
        Assert.That(Encoding.UTF8.GetString(bytes), Is.EqualTo(read));
    }

    [TestCase("/v1/chat/completions", """
        {"max_tokens":1,"messages":[{"role":"user","content":"x\ud83dy"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":\"\\ud83d\"}"}}]},
         {"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"\udc00"}]}],"stop":"\ud83d","user":"\ud83d","tools":[{"type":"function","function":{"name":"f","description":"\ud83d"}}]}
        """)]
    [TestCase("/v1/completions", """{"prompt":"x\ud83dy","max_tokens":1}""")]
    [TestCase("/v1/responses", """
        {"max_output_tokens":1,"instructions":"\ud83d","input":[{"role":"user","content":"x\ud83dy"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
         {"type":"function_call_output","call_id":"c","output":"\udc00"}]}
        """)]
    [TestCase("/v1/messages", """
        {"model":"kimi-nano","max_tokens":1,"system":"\ud83d","messages":[{"role":"user","content":"x\ud83dy"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"\ud83d":"\ud83d"}}]},
         {"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"\udc00"}]}]}
        """)]
    [TestCase("/api/chat", """
        {"model":"kimi-nano","stream":false,"options":{"num_predict":1},"messages":[{"role":"user","content":"x\ud83dy"},{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":"\ud83d"}}}]},
         {"role":"tool","content":"{\"CallId\":\"c\",\"Result\":\"\\ud83d\"}"}]}
        """)]
    [TestCase("/api/generate", """{"model":"kimi-nano","stream":false,"options":{"num_predict":1},"prompt":"x\ud83dy"}""")]
    public async Task A_conversation_that_has_one_goes_on(string path, string request)
    {
        (int status, JsonElement body, _) = await (await SharedServers.Plain).PostAsync(path, request);
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
    }

    [Test]
    public async Task The_model_reads_a_replacement_in_its_place()
    {
        string[] read = [.. await Task.WhenAll(new[] { "x\\ud83dy", "x\\ufffdy" }.Select(TokensAsync))];
        Assert.That(read[0], Is.EqualTo(read[1]));

        static async Task<string> TokensAsync(string text) =>
            (await (await SharedServers.Plain).PostAsync("/tokenize", $$"""{"prompt":"{{text}}"}""")).Body.GetProperty("tokens").GetRawText();
    }
}
