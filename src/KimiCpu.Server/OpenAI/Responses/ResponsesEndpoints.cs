// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary><c>/v1/responses</c>.</summary>
internal static class ResponsesEndpoints
{
    public static void Map(RouteMap routes, ServedModel model, KimiServerOptions options)
    {
        ResponsesDialect dialect = ResponsesDialect.Instance;
        routes.Post("/v1/responses", dialect, call => AnswerAsync(call, model, options));
        routes.Get("/v1/responses/{id}", dialect, RefuseStored, counts: false);
        routes.Delete("/v1/responses/{id}", dialect, RefuseStored, counts: false);
    }

    private static async Task AnswerAsync(ServerCall call, ServedModel model, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        model.Require(fields.Text("model"));
        ResponseRequest request = await model.ReadAsync(call, body.RootElement, parts => new ResponseRequestReader(parts).Read(fields)).ConfigureAwait(false);
        var writer = new ResponseWriter(model.Name, request);
        RunningAnswers begun;
        try
        {
            begun = await model.BeginAsync(request.Answer, call.Cancelled).ConfigureAwait(false);
        }
        catch (ContextLengthException e) when (request.Answer.Streams && RequestException.Of(e, call.Dialect)?.Code == ContextOverflow.Code)
        {
            // OpenAI says it within the stream, and Codex shortens a conversation only where it is said there.
            await call.WriteEventsAsync(new ResponseEvents(writer).Refused(call.ErrorOf(e)).ToAsyncEnumerable(), filler: null).ConfigureAwait(false);
            return;
        }

        await using RunningAnswers answers = begun;
        var items = new OutputItems(request, answers.Model.Tokenizer);
        if (request.Answer.Streams)
        {
            await call.WriteEventsAsync(new ResponseStream(call, writer, items, answers).EventsAsync(), filler: null).ConfigureAwait(false);
        }
        else
        {
            GenerationResult result = (await answers.ResultsAsync().ConfigureAwait(false)).Single();
            await call.WriteJsonAsync(writer.End(result, items.Of(result), call)).ConfigureAwait(false);
        }
    }

    private static Task RefuseStored(ServerCall call) =>
        throw new RequestException(StatusCodes.Status404NotFound, "Responses are not stored by this server.", "response_id", "response_not_found");
}
