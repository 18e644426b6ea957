// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;

namespace KimiCpu.Tests.Server;

/// <summary>Every value of a request may be null on the wire. That is as if it were left out, or refused with its place; never a failure of the server.</summary>
[TestFixture]
internal sealed class NullFieldTests
{
    private const string Tool = """{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}}""";

    [TestCase("/v1/chat/completions", """
        {"model":"kimi-nano","max_tokens":1,"messages":[{"role":"system","content":"s","name":"n"},{"role":"user","content":[{"type":"text","text":"u"}]},
         {"role":"assistant","content":"a","reasoning_content":"r","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},
         {"role":"tool","tool_call_id":"call_1","content":"t"}],"tools":[TOOL],"tool_choice":{"type":"function","function":{"name":"f"}},
         "temperature":0,"stop":["x"],"logit_bias":{"1":5},"seed":1,"logprobs":true,"top_logprobs":1,"stream":false,"n":1,"thinking":{"type":"enabled"},
         "chat_template_kwargs":{"thinking":true},"metadata":{"a":"b"},"modalities":["text"]}
        """)]
    [TestCase("/v1/chat/completions", """
        {"messages":[{"role":"user","content":"u"}],"max_tokens":1,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"a":{"type":"string"}}}}}}
        """)]
    [TestCase("/v1/completions", """{"model":"kimi-nano","prompt":["a",[1,2]],"max_tokens":1,"stop":"x","logprobs":0,"echo":false,"n":1,"best_of":1,"user":"u"}""")]
    [TestCase("/v1/responses", """
        {"model":"kimi-nano","max_output_tokens":1,"instructions":"i","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"u"}]},
         {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"r"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
         {"type":"function_call_output","call_id":"c","output":"o"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}}}],
         "tool_choice":{"type":"function","name":"f"},"text":{"format":{"type":"text"}},"reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content"],
         "metadata":{"a":"b"},"store":false,"parallel_tool_calls":false}
        """)]
    [TestCase("/v1/messages", """
        {"model":"kimi-nano","max_tokens":1,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"u"}]},
         {"role":"assistant","content":[{"type":"thinking","thinking":"t"},{"type":"tool_use","id":"c","name":"f","input":{}}]},
         {"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"r"}],"is_error":false}]}],
         "tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},
         "stop_sequences":["x"],"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}}
        """)]
    [TestCase("/v1/messages/count_tokens", """{"model":"kimi-nano","messages":[{"role":"user","content":"u"}],"system":"s"}""")]
    [TestCase("/api/chat", """
        {"model":"kimi-nano","stream":false,"think":true,"messages":[{"role":"user","content":"u","images":[]},
         {"role":"assistant","content":"a","thinking":"t","tool_calls":[{"function":{"name":"f","arguments":{"a":"b"}}}]},{"role":"tool","tool_name":"f","content":"r"}],
         "tools":[TOOL],"options":{"temperature":0,"num_predict":1,"stop":["x"]}}
        """)]
    [TestCase("/api/generate", """{"model":"kimi-nano","stream":false,"prompt":"p","system":"s","raw":false,"options":{"num_predict":1,"stop":["x"]}}""")]
    [TestCase("/api/show", """{"model":"kimi-nano"}""")]
    [TestCase("/tokenize", """{"messages":[{"role":"user","content":"u"}],"tools":[TOOL]}""")]
    [TestCase("/detokenize", """{"tokens":[1,2]}""")]
    public async Task Null_anywhere_is_left_out_or_refused_with_its_place(string path, string request)
    {
        request = request.Replace("TOOL", Tool, StringComparison.Ordinal);
        RunningServer server = await SharedServers.Plain;
        int known = server.Log.Lines.Count;
        int refused = 0;

        // Without its limit an answer would be as long as the context, and Ollama's streams where it is not told.
        string[] places = [.. PlacesIn(JsonNode.Parse(request)!, "").Where(p => p is not ("max_tokens" or "max_output_tokens" or "options" or "options.num_predict" or "stream"))];
        foreach (string place in places)
        {
            JsonNode changed = JsonNode.Parse(request)!;
            JsonNode target = Find(changed, place);
            JsonNode parent = target.Parent!;
            if (parent is JsonArray list)
            {
                list[target.GetElementIndex()] = null;
            }
            else
            {
                parent.AsObject()[target.GetPropertyName()] = null;
            }

            (int status, JsonElement body, _) = await server.PostAsync(path, changed.ToJsonString());
            Assert.That(status, Is.AnyOf(200, 400), $"{place}: {body.GetRawText()}");
            if (status == 400)
            {
                refused++;
                Assert.That(body.GetProperty("error").GetRawText(), Does.Contain(place.Split('.', '[')[0]), place);
            }
        }

        Assert.That(refused, Is.Positive);
        Assert.That(server.Log.Since(known), Is.Not.Empty.And.None.StartsWith("Error"));
    }

    [TestCase("/v1/chat/completions", """{"messages":null}""", "messages")]
    [TestCase("/v1/chat/completions", """{"messages":[null]}""", "messages[0]")]
    [TestCase("/v1/chat/completions", """{"messages":[{"role":"user","content":null}]}""", "messages[0].content")]
    [TestCase("/v1/chat/completions", """{"messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":null}]}]}""", "messages[1].content[0].text")]
    [TestCase("/v1/chat/completions", """{"messages":[{"role":"user","content":"a"}],"logit_bias":{"7":null}}""", "logit_bias.7")]
    [TestCase("/v1/completions", """{"prompt":["a",null]}""", "prompt[1]")]
    [TestCase("/v1/responses", """{"input":[null]}""", "input[0]")]
    public async Task Null_is_refused_with_its_path(string path, string request, string parameter)
    {
        RunningServer server = await SharedServers.Plain;
        (int status, JsonElement body, _) = await server.PostAsync(path, request);
        Assert.That((status, body.GetProperty("error").GetProperty("param").GetString()), Is.EqualTo((400, parameter)), body.GetRawText());
    }

    /// <summary>The paths of all values but the request itself.</summary>
    private static IEnumerable<string> PlacesIn(JsonNode node, string path)
    {
        IEnumerable<(string Path, JsonNode Child)> children = node switch
        {
            JsonObject fields => fields.Select(f => (path.Length == 0 ? f.Key : $"{path}.{f.Key}", f.Value!)),
            JsonArray items => items.Select((item, i) => ($"{path}[{i}]", item!)),
            _ => [],
        };
        return children.SelectMany(c => PlacesIn(c.Child, c.Path).Prepend(c.Path));
    }

    private static JsonNode Find(JsonNode node, string path) => path.Split('.', '[').Aggregate(node, (at, part) => part.EndsWith(']') ? at[int.Parse(part[..^1], System.Globalization.CultureInfo.InvariantCulture)]! : at[part]!);
}
