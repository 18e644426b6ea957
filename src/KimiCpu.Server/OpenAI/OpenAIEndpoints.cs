// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary><c>/v1/chat/completions</c> and <c>/v1/completions</c>.</summary>
internal static class OpenAIEndpoints
{
    public static void Map(RouteMap routes, ServedModel model, KimiServerOptions options)
    {
        var completions = new CompletionRequestReader(options);
        routes.Post("/v1/chat/completions", OpenAIDialect.Instance, call => ChatAsync(call, model, options));
        routes.Post("/v1/completions", OpenAIDialect.Completions, call => CompleteAsync(call, model, completions, options));
    }

    private static async Task ChatAsync(ServerCall call, ServedModel model, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        model.Require(fields.Text("model"));
        AnswerRequest request = await model.ReadAsync(call, body.RootElement, parts => new ChatRequestReader(parts).Read(fields)).ConfigureAwait(false);
        bool usage = ChatRequestReader.WantsUsage(fields);
        await using RunningAnswers answers = await model.BeginAsync(request, call.Cancelled).ConfigureAwait(false);
        var writer = new ChatWriter(model.Name, answers.Model.Tokenizer);
        if (request.Streams)
        {
            await call.WriteEventsAsync(new ChatStream(call, writer, answers, usage).EventsAsync(), ServerCall.Comment).ConfigureAwait(false);
        }
        else
        {
            await call.WriteJsonAsync(writer.Whole(request, await answers.ResultsAsync().ConfigureAwait(false), call)).ConfigureAwait(false);
        }
    }

    private static async Task CompleteAsync(ServerCall call, ServedModel model, CompletionRequestReader reader, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        model.Require(fields.Text("model"));
        IKimiModel opened = await model.OpenAsync(call.Cancelled).ConfigureAwait(false);
        (AnswerRequest request, bool echo) = reader.Read(fields, opened.Tokenizer, call.Cancelled);
        bool usage = ChatRequestReader.WantsUsage(fields);
        await using RunningAnswers answers = await model.BeginAsync(request, call.Cancelled).ConfigureAwait(false);
        var writer = new CompletionWriter(model.Name, opened.Tokenizer, request, echo);
        if (request.Streams)
        {
            await call.WriteEventsAsync(new CompletionStream(call, writer, answers, usage).EventsAsync(), ServerCall.Comment).ConfigureAwait(false);
        }
        else
        {
            await call.WriteJsonAsync(writer.Whole(await answers.ResultsAsync().ConfigureAwait(false), call)).ConfigureAwait(false);
        }
    }
}
