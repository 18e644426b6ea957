// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary><c>/v1/messages</c> and <c>/v1/messages/count_tokens</c>.</summary>
internal static class AnthropicEndpoints
{
    public static void Map(RouteMap routes, ServedModel model, KimiServerOptions options)
    {
        AnthropicDialect dialect = AnthropicDialect.Instance;
        routes.Post("/v1/messages", dialect, call => AnswerAsync(call, model, options));
        routes.Post("/v1/messages/count_tokens", dialect, call => CountAsync(call, model, options));
    }

    private static async Task AnswerAsync(ServerCall call, ServedModel model, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        model.Require(fields.RequiredText("model"));
        AnswerRequest request = await model.ReadAsync(call, body.RootElement, parts => new MessagesRequestReader(parts).Read(fields)).ConfigureAwait(false);
        await using RunningAnswers answers = await model.BeginAsync(request, call.Cancelled).ConfigureAwait(false);
        var writer = new MessageWriter(model.Name, request);
        if (request.Streams)
        {
            // The first event says how long the prompt is.
            int prompt = answers.PromptTokens ?? answers.Model.EncodePrompt(answers.Request.Messages!, request.Options, call.Cancelled).Length;
            await call.WriteEventsAsync(new MessageStream(call, writer, answers, prompt).EventsAsync(), MessageStream.Ping).ConfigureAwait(false);
        }
        else
        {
            await call.WriteJsonAsync(writer.Whole((await answers.ResultsAsync().ConfigureAwait(false)).Single(), call)).ConfigureAwait(false);
        }
    }

    private static async Task CountAsync(ServerCall call, ServedModel model, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        model.Require(fields.RequiredText("model"));
        AnswerRequest request = await model.ReadAsync(call, body.RootElement, parts => new MessagesRequestReader(parts).Read(fields, counts: true)).ConfigureAwait(false);
        int[] prompt = await model.EncodeAsync(request, call.Cancelled).ConfigureAwait(false);
        await call.WriteJsonAsync(new JsonObject { ["input_tokens"] = prompt.Length }).ConfigureAwait(false);
    }
}
