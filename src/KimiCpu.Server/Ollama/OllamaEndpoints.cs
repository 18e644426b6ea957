// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Ollama;

/// <summary><c>/api/chat</c>, <c>/api/generate</c>, <c>/api/tags</c>, <c>/api/ps</c>, <c>/api/show</c> and <c>/api/version</c>.</summary>
internal static class OllamaEndpoints
{
    /// <summary>
    /// The version of Ollama whose interface this is: clients look here for what it has, such as tools in streams and <c>think</c> with levels, and
    /// refuse a server that is older than what they need. The program's own version would be far below.
    /// </summary>
    private const string InterfaceVersion = "0.12.0";

    /// <summary>Bytes of a body that names a model. The request has no place among those that there may be only so many of, so as many bodies as connections may be there at once.</summary>
    private const int MostOfShow = 64 << 10;

    /// <summary>
    /// What a prompt is made of, in Ollama's language; the order is the model's own, its control tokens are nobody's to send. Some clients send tools only where a template
    /// has the word, whatever <c>capabilities</c> say, and the field that continues a text between two others only where it has that.
    /// </summary>
    private const string Template = "{{ .System }}{{ .Tools }}{{ range .Messages }}{{ .Role }}: {{ .Content }}{{ end }}";

    public static void Map(RouteMap routes, ServedModel model, KimiServerOptions options)
    {
        OllamaDialect dialect = OllamaDialect.Instance;
        routes.Post("/api/chat", dialect, call => AnswerAsync(call, model, options, (fields, _, parts) => new OllamaRequestReader(parts).ReadChat(fields), chat: true));
        routes.Post("/api/generate", dialect, call => AnswerAsync(call, model, options, (fields, opened, parts) => new OllamaRequestReader(parts).ReadGenerate(fields, opened.Tokenizer), chat: false));
        routes.Get("/api/tags", dialect, call => call.WriteJsonAsync(new JsonObject { ["models"] = new JsonArray(ModelDescription.Listed(model)) }), counts: false);
        routes.Get("/api/ps", dialect, call => call.WriteJsonAsync(new JsonObject { ["models"] = Running(model) }), counts: false);
        routes.Post("/api/show", dialect, call => ShowAsync(call, model, options), counts: false);
        routes.Get("/api/version", dialect, call => call.WriteJsonAsync(new JsonObject { ["version"] = InterfaceVersion, ["kimicpu"] = OwnVersion() }), counts: false);
    }

    private static string OwnVersion() => typeof(OllamaEndpoints).Assembly.GetName().Version?.ToString(3) ?? "0.0.0";

    /// <summary>One that can run no call any more is open, but not running.</summary>
    private static JsonArray Running(ServedModel model) =>
        model.IfOpen(out ModelState state) is { } open && state == ModelState.Ready ? new JsonArray(ModelDescription.Running(model, open.Info)) : [];

    private static async Task ShowAsync(ServerCall call, ServedModel model, KimiServerOptions options)
    {
        model.Require(await NameAsync(call, options).ConfigureAwait(false));
        KimiModelInfo info = (await model.OpenAsync(call.Cancelled).ConfigureAwait(false)).Info;
        await call.WriteJsonAsync(new JsonObject
        {
            ["modified_at"] = ModelDescription.ModifiedAt(model),
            ["template"] = Template,
            ["details"] = ModelDescription.Details(info),
            ["model_info"] = new JsonObject
            {
                ["general.architecture"] = "kimi-k2",

                // Some clients know no other name to show.
                ["general.basename"] = model.Name,
                ["general.parameter_count"] = info.ParameterCount,
                ["kimi-k2.block_count"] = info.LayerCount,
                ["kimi-k2.context_length"] = info.ContextLength,
                ["kimi-k2.embedding_length"] = info.HiddenSize,
                ["kimi-k2.expert_count"] = info.ExpertCount,
                ["kimi-k2.expert_used_count"] = info.ExpertsPerToken,
                ["kimi-k2.vocab_size"] = info.VocabularySize,
            },
            ["capabilities"] = new JsonArray("completion", "tools", "thinking"),
        }).ConfigureAwait(false);
    }

    /// <summary>Which model is asked about. Nothing is kept of the body while the model is being opened.</summary>
    private static async Task<string> NameAsync(ServerCall call, KimiServerOptions options)
    {
        using JsonDocument body = await call.ReadJsonAsync(options, MostOfShow).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        return fields.Text("model") ?? fields.Text("name") ?? throw fields.Missing("model");
    }

    private static async Task AnswerAsync(ServerCall call, ServedModel model, KimiServerOptions options, Func<JsonFields, IKimiModel, RequestParts, AnswerRequest?> read, bool chat)
    {
        using JsonDocument body = await call.ReadJsonAsync(options).ConfigureAwait(false);
        var fields = new JsonFields(body.RootElement);
        string name = fields.RequiredText("model");
        model.Require(name);
        var writer = new OllamaWriter(name, chat);
        if (OllamaRequestReader.AsksToUnload(fields, chat))
        {
            await call.WriteJsonAsync(writer.Nothing("unload")).ConfigureAwait(false);
            return;
        }

        IKimiModel opened = await model.OpenAsync(call.Cancelled).ConfigureAwait(false);
        if (await model.ReadAsync(call, body.RootElement, parts => read(fields, opened, parts)).ConfigureAwait(false) is not { } request)
        {
            await call.WriteJsonAsync(writer.Nothing("load")).ConfigureAwait(false);
            return;
        }

        await using RunningAnswers answers = await model.BeginAsync(request, call.Cancelled).ConfigureAwait(false);
        if (request.Streams)
        {
            IAsyncEnumerable<JsonObject> lines = writer.LinesAsync(answers, call).EndingWith(e => [call.Dialect.Error(call.ErrorOf(e), call.Id)], () => call.IsGone);
            await call.WriteLinesAsync(lines, writer.Nothing).ConfigureAwait(false);
        }
        else
        {
            await call.WriteJsonAsync(writer.Whole(request, (await answers.ResultsAsync().ConfigureAwait(false)).Single(), call)).ConfigureAwait(false);
        }
    }
}
