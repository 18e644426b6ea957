// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;

namespace KimiCpu.Tests.Server;

/// <summary>Arguments of calls that come back as JSON and not as a text reach the model in the form that it is trained on.</summary>
[TestFixture]
internal sealed class ToolArgumentsTests
{
    [TestCase("""{"a":"\u003c\u00e9\ud83d\ude00"}""", """{"a": "<é😀"}""")]
    [TestCase("{\n  \"a\" : [1,  2.50],\n  \"b\":{}}", """{"a": [1, 2.5], "b": {}}""")]
    [TestCase("""{"a":"\\ \" \n"}""", """{"a": "\\ \" \n"}""")]
    [TestCase("{}", "{}")]
    [TestCase("""{"half":"\ud83d"}""", """{"half":"\ud83d"}""", Description = "No text, and refused by no client: the conversation has to go on.")]
    public void How_a_client_escapes_and_spaces_arguments_is_not_shown(string sent, string shown)
    {
        Assert.That(Anthropic(sent), Is.EqualTo(shown));
        Assert.That(Ollama(sent).ToolCalls.Single().Arguments, Is.EqualTo(shown));
    }

    [TestCase("""{"city":"\u003cOslo\u003e \ud83d\ude00", "days":[1, 2]}""", """{"city":"<Oslo> 😀","days":[1,2]}""")]
    [TestCase("\"plain \\u00e9\"", "plain é")]
    public void A_result_that_OllamaSharp_wraps_is_shown_as_others_are(string result, string shown)
    {
        string wrapped = JsonSerializer.Serialize($$"""{"CallId":"c1","Result":{{result}}}""");
        var fields = new JsonFields(JsonElement.Parse($$$"""
            {"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]},{"role":"tool","content":{{{wrapped}}}}]}
            """));
        Assert.That(OllamaReader().ReadChat(fields)!.Messages![1].Content, Is.EqualTo(shown));
    }

    private static string Anthropic(string arguments)
    {
        var fields = new JsonFields(JsonElement.Parse($$"""
            {"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{{arguments}}}]},{"role":"user","content":"x"}]}
            """));
        return new MessagesReader(10).Read(fields)[0].ToolCalls.Single().Arguments;
    }

    private static KimiMessage Ollama(string arguments)
    {
        var fields = new JsonFields(JsonElement.Parse($$$"""
            {"messages":[{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{{{arguments}}}}}]}]}
            """));
        return OllamaReader().ReadChat(fields)!.Messages!.Single();
    }

    private static OllamaRequestReader OllamaReader() => new(new RequestParts(new KimiServerOptions(), new FormatReader(), CancellationToken.None));
}
