// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Server;

/// <summary>Log-probabilities over HTTP are the model's own numbers, and their places those of the text.</summary>
[TestFixture]
internal sealed class LogProbabilityTests
{
    private const string Prompt = "ROMEO:\n";
    private const string Question = "What is the capital of France?";

    private static readonly GenerationOptions s_greedy = new() { Temperature = 0, MaxTokens = 12, LogProbabilities = true, TopLogProbabilities = 3 };

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await SharedServers.Plain;

    [Test]
    public async Task Completions_have_those_of_the_model_at_the_places_of_the_text()
    {
        TokenLogProbability[] expected = [.. _server.Model.Generate(_server.Model.Tokenizer.Encode(Prompt).AsMemory(), s_greedy).LogProbabilities];
        JsonElement choice = await FirstAsync("/v1/completions", new JsonObject { ["prompt"] = Prompt, ["temperature"] = 0, ["max_tokens"] = 12, ["logprobs"] = 3 });
        JsonElement found = choice.GetProperty("logprobs");
        Assert.That(Numbers(found.GetProperty("token_logprobs")), Is.EqualTo(expected.Select(t => t.LogProbability)));
        Assert.That(Numbers(found.GetProperty("token_logprobs")).Distinct().Count(), Is.GreaterThan(6), "they differ, so that the places are seen");
        Assert.That(
            found.GetProperty("top_logprobs").EnumerateArray().Select(top => top.EnumerateObject().Select(t => (t.Name, t.Value.GetSingle()))),
            Is.EqualTo(expected.Select(t => t.Top.Select(top => (Text(top.Token), top.LogProbability)).DistinctBy(top => top.Item1))));
        string[] tokens = [.. found.GetProperty("tokens").EnumerateArray().Select(t => t.GetString()!)];
        Assert.That(tokens, Is.EqualTo(expected.Select(t => Text(t.Token))));
        Assert.That(Encoding.UTF8.GetByteCount(string.Concat(tokens)), Is.EqualTo(string.Concat(tokens).Length), "each character is one byte");
        Assert.That(found.GetProperty("text_offset").EnumerateArray().Select(o => o.GetInt32()), Is.EqualTo(tokens.Select((_, i) => string.Concat(tokens[..i]).Length)));
    }

    [Test]
    public async Task Chats_and_responses_have_those_of_the_model()
    {
        GenerationResult result = _server.Model.Generate([KimiMessage.User(Question)], s_greedy with { Thinking = false, MaxReasoningTokens = 0 });
        TokenLogProbability[] expected = [.. result.LogProbabilities.Where(t => !_server.Model.Tokenizer.IsSpecial(t.Token))];
        Assert.That(string.Concat(expected.Select(t => Text(t.Token))), Is.EqualTo(result.Text), "no reasoning, so all are of the text");
        JsonElement choice = await FirstAsync("/v1/chat/completions", new JsonObject
        {
            ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = Question }),
            ["temperature"] = 0,
            ["max_tokens"] = 12,
            ["logprobs"] = true,
            ["top_logprobs"] = 3,
            ["reasoning_effort"] = "none",
        });
        AssertTokens(choice.GetProperty("logprobs").GetProperty("content"), expected);
        (int status, JsonElement response, _) = await _server.PostAsync("/v1/responses", new JsonObject
        {
            ["input"] = Question,
            ["temperature"] = 0,
            ["max_output_tokens"] = 12,
            ["include"] = new JsonArray("message.output_text.logprobs"),
            ["top_logprobs"] = 3,
            ["reasoning"] = new JsonObject { ["effort"] = "none" },
        }.ToJsonString());
        Assert.That(status, Is.EqualTo(200), response.GetRawText());
        AssertTokens(response.GetProperty("output").EnumerateArray().Last().GetProperty("content")[0].GetProperty("logprobs"), expected);
    }

    private void AssertTokens(JsonElement found, TokenLogProbability[] expected)
    {
        Assert.That(found.EnumerateArray().Select(Token), Is.EqualTo(expected.Select(t => Token(t.Token, t.LogProbability))));
        Assert.That(
            found.EnumerateArray().Select(t => t.GetProperty("top_logprobs").EnumerateArray().Select(Token)),
            Is.EqualTo(expected.Select(t => t.Top.Select(top => Token(top.Token, top.LogProbability)))));
    }

    private (string Text, float LogProbability, string Bytes) Token(int token, float logProbability) => (Text(token), logProbability, Convert.ToHexString(_server.Model.Tokenizer.GetBytes(token)));

    private static (string Text, float LogProbability, string Bytes) Token(JsonElement token) => (
        token.GetProperty("token").GetString()!,
        token.GetProperty("logprob").GetSingle(),
        Convert.ToHexString([.. token.GetProperty("bytes").EnumerateArray().Select(b => b.GetByte())]));

    private string Text(int token) => Encoding.UTF8.GetString(_server.Model.Tokenizer.GetBytes(token));

    private static float[] Numbers(JsonElement array) => [.. array.EnumerateArray().Select(n => n.GetSingle())];

    private async Task<JsonElement> FirstAsync(string path, JsonObject request)
    {
        (int status, JsonElement body, _) = await _server.PostAsync(path, request.ToJsonString());
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        return body.GetProperty("choices")[0];
    }
}
