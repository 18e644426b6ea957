// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.Pipelines;
using System.Text.Json;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary><c>/tokenize</c> and <c>/detokenize</c>, which many servers for open models have.</summary>
internal static class TokenEndpoints
{
    private const int TokensAtOnce = 4096;

    private static readonly HashSet<string> s_text = ["model", "prompt", "content", "messages", "tools"];
    private static readonly HashSet<string> s_tokens = ["model", "tokens"];

    public static void Map(RouteMap routes, ServedModel model, KimiServerOptions options)
    {
        routes.Post("/tokenize", OpenAIDialect.Instance, call => TokenizeAsync(call, model, options));
        routes.Post("/detokenize", OpenAIDialect.Instance, call => DetokenizeAsync(call, model, options));
    }

    /// <summary>Token ids; whether there are such tokens is seen later.</summary>
    public static int[] Ids(JsonElement array, string path) =>
        [.. array.EnumerateArray().Select((e, i) => e.ValueKind == JsonValueKind.Number && e.TryGetInt32(out int id) && id >= 0 ? id : throw JsonFields.Wrong($"{path}[{i}]", "a token id", e))];

    private static async Task TokenizeAsync(ServerCall call, ServedModel served, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        fields.RefuseOthers(s_text);
        served.Require(fields.Text("model"));
        IKimiModel model = await served.OpenAsync(call.Cancelled).ConfigureAwait(false);
        int[] tokens = fields.Has("messages")
            ? await served.EncodeAsync(
                await served.ReadAsync(call, body.RootElement, parts => new AnswerRequest
                {
                    Messages = new ChatMessageReader(options.MaxMessages).Read(fields),
                    Options = new Generation.GenerationOptions { Tools = [.. fields.Items("tools", options.MaxTools).Select(t => parts.Function(new JsonFields(t.Element, t.Path)))] },
                }).ConfigureAwait(false),
                call.Cancelled).ConfigureAwait(false)
            : model.Tokenizer.Encode(
                fields.Text("prompt") ?? fields.Text("content") ?? throw new RequestException(StatusCodes.Status400BadRequest, "prompt or messages is required.", "prompt", "missing_required_parameter"),
                cancellationToken: call.Cancelled);
        await WriteAsync(call.Context, tokens, model.Info.ContextLength).ConfigureAwait(false);
    }

    /// <summary>Writes ids as they go out: there may be one for each byte of a body, and a node of JSON takes many times the room of one.</summary>
    private static async Task WriteAsync(HttpContext context, ReadOnlyMemory<int> tokens, int most)
    {
        PipeWriter body = context.Response.BodyWriter;
        context.Response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(body);
        json.WriteStartObject();
        json.WriteNumber("count", tokens.Length);
        json.WriteNumber("max_model_len", most);
        json.WriteStartArray("tokens");
        for (int at = 0; at < tokens.Length; at += TokensAtOnce)
        {
            foreach (int token in tokens.Span[at..Math.Min(tokens.Length, at + TokensAtOnce)])
            {
                json.WriteNumberValue(token);
            }

            await json.FlushAsync(context.RequestAborted).ConfigureAwait(false);
            await body.FlushAsync(context.RequestAborted).ConfigureAwait(false);
        }

        json.WriteEndArray();
        json.WriteEndObject();
        await json.FlushAsync(context.RequestAborted).ConfigureAwait(false);
        await body.FlushAsync(context.RequestAborted).ConfigureAwait(false);
    }

    private static async Task DetokenizeAsync(ServerCall call, ServedModel served, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        fields.RefuseOthers(s_tokens);
        served.Require(fields.Text("model"));
        IKimiModel model = await served.OpenAsync(call.Cancelled).ConfigureAwait(false);
        JsonElement given = fields.Get("tokens") is { ValueKind: JsonValueKind.Array } array ? array : throw fields.Invalid("tokens", "an array of token ids");
        int[] tokens = Ids(given, "tokens");
        if (Array.Find(tokens, t => t >= model.Tokenizer.VocabularySize) is var unknown and > 0)
        {
            throw new RequestException(StatusCodes.Status400BadRequest, $"tokens takes ids 0 … {model.Tokenizer.VocabularySize - 1}; found {unknown}.", "tokens", "invalid_value");
        }

        await TokenTextJson.WriteAsync(call.Context, ["prompt", "content"], model.Tokenizer, tokens, call.Cancelled).ConfigureAwait(false);
    }
}
