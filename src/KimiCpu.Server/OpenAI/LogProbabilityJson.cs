// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Server.Http;
using KimiCpu.Tokens;

namespace KimiCpu.Server.OpenAI;

/// <summary>Log-probabilities as OpenAI's interfaces write them.</summary>
/// <param name="tokenizer">Of the model.</param>
internal sealed class LogProbabilityJson(KimiTokenizer tokenizer)
{
    /// <summary>JSON has no infinity; by this the interface stands for what cannot come.</summary>
    private const float Least = -9999;

    public JsonObject Chat(IEnumerable<TokenLogProbability> tokens) => new()
    {
        ["content"] = Tokens(tokens),
        ["refusal"] = null,
    };

    /// <summary>Of each token, with the most likely ones at its position.</summary>
    public JsonArray Tokens(IEnumerable<TokenLogProbability> tokens) => JsonText.Array(tokens.Select(t =>
    {
        JsonObject token = Token(t.Token, t.LogProbability);
        token["top_logprobs"] = JsonText.Array(t.Top.Select(top => Token(top.Token, top.LogProbability)));
        return token;
    }));

    /// <param name="tokens">Of a piece of text.</param>
    /// <param name="offset">Of the piece in the whole text.</param>
    public JsonObject Completion(IReadOnlyList<TokenLogProbability> tokens, TextOffset offset)
    {
        var offsets = new JsonArray();
        foreach (TokenLogProbability token in tokens)
        {
            offsets.Add((JsonNode)offset.Next(token.Token));
        }

        return new JsonObject
        {
            ["tokens"] = JsonText.Array(tokens.Select(t => (JsonNode?)Text(t.Token))),
            ["token_logprobs"] = JsonText.Array(tokens.Select(t => (JsonNode?)Finite(t.LogProbability))),
            ["top_logprobs"] = JsonText.Array(tokens.Select(t =>
            {
                var top = new JsonObject();
                foreach ((int token, float logProbability) in t.Top)
                {
                    top[Text(token)] ??= Finite(logProbability);
                }

                return (JsonNode?)top;
            })),
            ["text_offset"] = offsets,
        };
    }

    private static float Finite(float value) => Math.Max(value, Least);

    private JsonObject Token(int token, float logProbability) => new()
    {
        ["token"] = Text(token),
        ["logprob"] = Finite(logProbability),
        ["bytes"] = JsonText.Array(tokenizer.GetBytes(token).ToArray().Select(b => (JsonNode?)(int)b)),
    };

    private string Text(int token) => Encoding.UTF8.GetString(tokenizer.GetBytes(token));
}
