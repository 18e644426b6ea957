// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Server.Http;

namespace KimiCpu.Tests.Server;

/// <summary>Results of tools find their calls, and hold whatever tools return.</summary>
[TestFixture]
internal sealed class ToolResultTests
{
    private const string AnthropicCall = """{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"read","input":{}}]},""";
    private const string OpenAICall = """{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"t","type":"function","function":{"name":"read","arguments":"{}"}}]},""";
    private const string ResponsesCall = """{"role":"user","content":"x"},{"type":"function_call","call_id":"t","name":"read","arguments":"{}"},""";
    private const string OllamaCalls = """{"role":"user","content":"x"},{"role":"assistant","content":"","tool_calls":[{"function":{"name":"a","arguments":{}}},{"function":{"name":"b","arguments":{}}}]},""";

    /// <summary>A coding agent sends its whole conversation each time, and would be refused from its first screenshot on.</summary>
    [Test]
    public void What_is_no_text_in_a_result_is_named()
    {
        Assert.That(ConversationReading.Anthropic(AnthropicCall + """
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"He"},{"type":"text","text":"re:"},
             {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAAAA=="}},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"A text."}},
             {"type":"image","source":{"type":"url","url":"https://example.com/a.png"}},{"type":"tool_reference","tool_name":"g"},
             {"type":"search_result","source":"https://example.com","title":"Found","content":[{"type":"text","text":"Words."}]},{"type":"document","source":{"type":"content","content":[{"type":"text","text":"More."}]}}]}]}
            """)[^1].Content, Is.EqualTo(
            "Here:\n(image/png, 4 bytes, which this model is not shown)\nA text.\n(image at https://example.com/a.png, which this model is not shown)\n(tool_reference, which this model is not shown)\nFound (https://example.com)\nWords.\nMore."));
        Assert.That(ConversationReading.OpenAI(OpenAICall + """
            {"role":"tool","tool_call_id":"t","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAAA=="}},{"type":"text","text":"Text."},
             {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,AAAA"}},{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}
            """)[^1].Content, Is.EqualTo(
            "(image/png, 4 bytes, which this model is not shown)\nText.\n(application/pdf, 3 bytes, which this model is not shown)\n(input_audio, which this model is not shown)"));
        Assert.That(ConversationReading.Responses(ResponsesCall + """
            {"type":"function_call_output","call_id":"t","output":[{"type":"input_text","text":"Here:"},{"type":"input_image","image_url":"https://example.com/a.png"},
             {"type":"input_image","image_url":"data:image/svg+xml,%3Csvg%3E"},{"type":"input_file","file_data":"/9j/AAAA"},{"type":"input_file","file_id":"f1"}]}
            """)[^1].Content, Is.EqualTo(
            "Here:\n(image at https://example.com/a.png, which this model is not shown)\n(image/svg+xml in its URI, which this model is not shown)\n(file, 6 bytes, which this model is not shown)\n(input_file, which this model is not shown)"));
        Assert.That(ConversationReading.Ollama(OllamaCalls + """{"role":"tool","tool_name":"a","content":"Here:","images":["AAAA","AAAAAA=="]}""")[^1].Content, Is.EqualTo(
            "Here:\n(image, 3 bytes, which this model is not shown)\n(image, 4 bytes, which this model is not shown)"));
    }

    [Test]
    public void What_is_no_text_in_a_message_of_the_user_is_refused()
    {
        Expect("messages[0].content[0].type", () => ConversationReading.Anthropic("""{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}"""));
        Expect("messages[0].content[0].type", () => ConversationReading.OpenAI("""{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}"""));
        Expect("input[0].content[0].type", () => ConversationReading.Responses("""{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}"""));
        Expect("messages[0].images", () => ConversationReading.Ollama("""{"role":"user","content":"x","images":["AAAA"]}"""));
    }

    [Test]
    public async Task A_conversation_goes_on_behind_a_result_with_an_image()
    {
        RunningServer server = await SharedServers.Plain;
        (int status, JsonElement body, _) = await server.PostAsync("/v1/messages", $$$"""
            {"model":"kimi-nano","max_tokens":4,"messages":[{{{AnthropicCall}}}{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}]}
            """);
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
    }

    /// <summary>Fields that clients always send are empty where there is no id, and some clients drop the ids of calls and keep those of results.</summary>
    [TestCase("")]
    [TestCase("3f2c")]
    public void A_result_of_Ollamas_interface_answers_the_call_of_its_tool_where_its_id_names_none(string id)
    {
        IReadOnlyList<KimiMessage> read = ConversationReading.Ollama(OllamaCalls + $$"""
            {"role":"tool","tool_name":"b","tool_call_id":"{{id}}","content":"B"},{"role":"tool","tool_name":"a","tool_call_id":"{{id}}","content":"A"},{"role":"tool","tool_name":"a","tool_call_id":"late","content":"C"}
            """);
        Assert.That(read.TakeLast(3).Select(m => (m.ToolCallId, m.Content)), Is.EqualTo(new[] { ("functions.b:1", "B"), ("functions.a:0", "A"), ("late", "C") }));
    }

    /// <summary>As the interface's own answers name them. Results come in the order in which they are ready.</summary>
    [Test]
    public void A_result_of_Ollamas_interface_answers_the_call_that_its_id_is_shown_for([Values] bool named)
    {
        string tool = named ? "\"tool_name\":\"a\"," : "";
        IReadOnlyList<KimiMessage> read = ConversationReading.Ollama($$$$"""
            {"role":"user","content":"x"},{"role":"assistant","content":"","tool_calls":[{"function":{"name":"a","arguments":{"x":1}}},{"function":{"name":"a","arguments":{"x":2}}}]},
            {"role":"tool",{{{{tool}}}}"tool_call_id":"functions.a:1","content":"B"},{"role":"tool",{{{{tool}}}}"tool_call_id":"functions.a:0","content":"A"}
            """);
        Assert.That(read.TakeLast(2).Select(m => (m.ToolCallId, m.Content)), Is.EqualTo(new[] { ("functions.a:1", "B"), ("functions.a:0", "A") }));
    }

    /// <summary>Elsewhere each call has an id, and one that none has is of a call that was cut off.</summary>
    [Test]
    public void A_result_of_other_interfaces_answers_no_call_of_another_id()
    {
        Assert.That(ConversationReading.OpenAI(OpenAICall + """{"role":"tool","tool_call_id":"u","content":"x"},{"role":"tool","tool_call_id":"","content":"y"}""").TakeLast(2).Select(m => m.ToolCallId),
            Is.EqualTo(new[] { "u", "functions.read:0" }));
    }

    [Test]
    public void A_result_out_of_place_is_refused_with_the_clients_place()
    {
        RequestException error = Expect("messages[4].tool_call_id", () => ConversationReading.Ollama(OllamaCalls + """{"role":"tool","content":"1"},{"role":"tool","content":"2"},{"role":"tool","content":"3"}"""));
        Assert.That(error.Message, Is.EqualTo("messages[4].tool_call_id takes the id of a call: this result names none, and every call before it is answered."));
        Expect("messages[0].tool_call_id", () => ConversationReading.OpenAI("""{"role":"tool","tool_call_id":"","content":"x"}"""));
        Expect("messages[1].content[1].tool_use_id", () => ConversationReading.Anthropic("""{"role":"user","content":"x"},{"role":"user","content":[{"type":"text","text":"y"},{"type":"tool_result","tool_use_id":""}]}"""));
        Expect("input[0].call_id", () => ConversationReading.Responses("""{"type":"function_call_output","call_id":"","output":"x"}"""));
    }

    private static RequestException Expect(string parameter, Func<IReadOnlyList<KimiMessage>> read)
    {
        RequestException error = Assert.Throws<RequestException>(() => read())!;
        Assert.That((error.Status, error.Parameter), Is.EqualTo((400, parameter)));
        return error;
    }
}
