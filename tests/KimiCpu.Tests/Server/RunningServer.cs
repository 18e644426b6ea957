// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text;
using System.Text.Json;
using Anthropic;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server;
using KimiCpu.Server.Answers;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OllamaSharp;

namespace KimiCpu.Tests.Server;

/// <summary>The server with kimi-nano at a free port of this machine, and clients of it.</summary>
internal sealed class RunningServer : IAsyncDisposable
{
    /// <summary>The first key of servers that ask for one.</summary>
    public const string Key = "key-1";

    private readonly WebApplication _app;

    // Who stops reading leaves at once; otherwise the handler would read on for two seconds, in case the connection can be kept.
    private readonly SocketsHttpHandler _handler = new() { MaxResponseDrainSize = 0 };

    private RunningServer(WebApplication app)
    {
        _app = app;
        Http = NewHttp();
    }

    public HttpClient Http { get; }

    /// <summary>What was logged, all of it.</summary>
    public LogLines Log { get; private init; } = null!;

    public KimiModel Model => (KimiModel)_app.Services.GetRequiredService<IKimiModel>();

    public ModelHost ModelHost => _app.Services.GetRequiredService<ModelHost>();

    public AnswerMemory Memory => _app.Services.GetRequiredService<AnswerMemory>();

    public SchemaTurns Turns => _app.Services.GetRequiredService<SchemaTurns>();

    /// <summary>How long its host waits for it when it is to stop.</summary>
    public TimeSpan ShutdownTimeout => _app.Services.GetRequiredService<IOptions<HostOptions>>().Value.ShutdownTimeout;

    /// <summary>The routes that there are.</summary>
    public IEnumerable<RouteEndpoint> Routes => ((IEndpointRouteBuilder)_app).DataSources.SelectMany(d => d.Endpoints).OfType<RouteEndpoint>();

    /// <summary>Requests whose clients went away before they were answered.</summary>
    public int Gone => Log.Lines.Count(l => l.Contains("the client has gone away", StringComparison.Ordinal));

    /// <summary>A JSON Schema that only an answer fulfils which is longer than an answer can be.</summary>
    public static string EndlessSchema { get; } = $$$"""{"type":"object","properties":{"song":{"enum":["{{{string.Concat(Enumerable.Repeat("la ", 3000))}}}"]}},"required":["song"],"additionalProperties":false}""";

    public static async Task<RunningServer> StartAsync(Action<KimiServerOptions>? configure = null, Action<KimiOptions>? model = null, Action<WebApplicationBuilder>? host = null)
    {
        var log = new LogLines();
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Logging.SetMinimumLevel(LogLevel.Debug).AddProvider(log);
        builder.Services.AddKimi(o =>
        {
            (o.Embedded, o.ContextLength) = (true, 2048);
            model?.Invoke(o);
        });
        builder.Services.AddKimiServer(configure);
        host?.Invoke(builder);
        WebApplication app = builder.Build();
        app.MapKimi();
        app.MapKimiPage();
        app.MapKimiFallback();
        await app.StartAsync();
        return new RunningServer(app) { Log = log };
    }

    /// <summary>A server whose model is the test's.</summary>
    public static Task<RunningServer> StartWithAsync(IKimiModel opened, Action<KimiServerOptions>? configure = null, Action<KimiOptions>? model = null) => StartAsync(configure, model, builder => builder.Services.AddSingleton(
        s => new ModelHost(s.GetRequiredService<IOptionsMonitor<KimiOptions>>(), s.GetRequiredService<IOptionsMonitorCache<KimiOptions>>(), Options.DefaultName, loggers: null) { Opener = (_, _, _) => Task.FromResult(opened) }));

    public global::OpenAI.OpenAIClient Client(string key = "none") => new(
        new ApiKeyCredential(key),
        new global::OpenAI.OpenAIClientOptions { Endpoint = new Uri(Http.BaseAddress!, "/v1"), Transport = new HttpClientPipelineTransport(Http), RetryPolicy = new ClientRetryPolicy(0), NetworkTimeout = TimeSpan.FromMinutes(10) });

    /// <summary>A client that refuses responses which lack anything of their documented form.</summary>
    public AnthropicClient Anthropic(string key = "none") => new() { HttpClient = NewHttp(), BaseUrl = Http.BaseAddress!.GetLeftPart(UriPartial.Authority), ApiKey = key, MaxRetries = 0, Timeout = TimeSpan.FromMinutes(10), ResponseValidation = true };

    public OllamaApiClient Ollama(string key = "none", string model = "kimi-nano")
    {
        var client = new OllamaApiClient(NewHttp(), model);
        client.DefaultRequestHeaders["Authorization"] = $"Bearer {key}";
        return client;
    }

    public Task<HttpResponseMessage> GetAsync(string path, params (string Name, string Value)[] headers) => SendAsync(new HttpRequestMessage(HttpMethod.Get, path), headers);

    public async Task<(int Status, JsonElement Body, HttpResponseMessage Response)> PostAsync(string path, HttpContent content, params (string Name, string Value)[] headers)
    {
        HttpResponseMessage response = await SendAsync(new HttpRequestMessage(HttpMethod.Post, path) { Content = content }, headers);
        return ((int)response.StatusCode, JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync()).RootElement, response);
    }

    public Task<(int Status, JsonElement Body, HttpResponseMessage Response)> PostAsync(string path, string json, params (string Name, string Value)[] headers) =>
        PostAsync(path, new StringContent(json, Encoding.UTF8, "application/json"), headers);

    /// <summary>Begins an answer that goes on until the response is disposed.</summary>
    public async Task<HttpResponseMessage> BeginEndlessAsync(CancellationToken cancellationToken = default)
    {
        var content = new StringContent("""{"prompt":"ROMEO:\n","ignore_eos":true,"max_tokens":2000,"stream":true}""", Encoding.UTF8, "application/json");
        HttpResponseMessage response = await SendAsync(new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = content }, [("x-api-key", Key)], HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        return response.EnsureSuccessStatusCode();
    }

    /// <summary>Does something while another call runs and one waits, which is all that the server of <see cref="SharedServers.Guarded"/> has room for.</summary>
    public async Task WhileFullAsync(Func<Task> act)
    {
        using var end = new CancellationTokenSource();
        ExpectCalls(0, 0);
        using HeldAnswer running = await HoldAnswerAsync();
        Task<HttpResponseMessage> waiting = BeginEndlessAsync(end.Token);
        Assert.That(() => (Model.Activity.RunningCalls, Model.Activity.WaitingCalls), Is.EqualTo((1, 1)).After(30_000, 5));
        await act();
        await end.CancelAsync();
        await ((Task)waiting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        Assert.That(waiting.IsCanceled, "it waited until now");
    }

    /// <summary>For answers that are to come no further for a while.</summary>
    public HeldEngine Held() => new(Model.Engine);

    /// <summary>Begins an answer that comes no further until it is disposed of.</summary>
    public async Task<HeldAnswer> HoldAnswerAsync()
    {
        const int Attempts = 50;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            HttpResponseMessage response;
            try
            {
                response = await BeginEndlessAsync();
            }
            catch (HttpRequestException e) when (attempt > 0 && e.StatusCode == System.Net.HttpStatusCode.TooManyRequests)
            {
                // The one before has not given its place back yet.
                await Task.Delay(100);
                continue;
            }

            var answer = new HeldAnswer(response, Held());
            await answer.HoldAsync();
            if (Model.Activity.RunningCalls == 1)
            {
                return answer;
            }

            // On a busy machine it may have reached its last token meanwhile.
            answer.Dispose();
        }

        throw new AssertionException("No answer could be held.");
    }

    /// <summary>
    /// Has an answer cancelled while the model stands still, so that it does not end by itself meanwhile, and expects its call to end of that. Begins again where the answer
    /// had come to its end before: where other work keeps the client from its turn, that can be before its first piece is read.
    /// </summary>
    /// <param name="ask">Asks for an endless answer with the token given, and calls what is given as soon as there is a piece of it.</param>
    /// <returns>How the client tells that it was cancelled; null where it says nothing.</returns>
    public async Task<Exception?> CancelAnswerAsync(Func<Func<Task>, CancellationToken, Task> ask)
    {
        const int Attempts = 50;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            int gone = Gone;
            bool? wasRunning = null;
            using var cancellation = new CancellationTokenSource();
            using HeldEngine held = Held();
            Exception? told = null;
            try
            {
                await ask(
                    async () =>
                    {
                        await held.HoldAsync();
                        wasRunning ??= Model.Activity.RunningCalls == 1;
                        await cancellation.CancelAsync();
                    },
                    cancellation.Token);
            }
            catch (Exception e)
            {
                told = e;
            }

            held.Dispose();
            if (wasRunning == true)
            {
                Assert.That(() => Gone, Is.EqualTo(gone + 1).After(20_000, 20), "the server has heard of it");
                ExpectIdle();
                return told;
            }

            Assert.That(wasRunning, Is.Not.Null, $"A piece of the answer was never read. {told}");
            ExpectIdle();
        }

        throw new AssertionException("Every answer came to its end before its first piece was read.");
    }

    /// <summary>Waits until no call runs, and finds every page of the cache free.</summary>
    public void ExpectIdle()
    {
        ExpectCalls(0, 0);
        ExpectNoLeak();
    }

    /// <summary>Waits for calls that were left to end, and finds every page of the cache free.</summary>
    public void ExpectNoLeak() => Assert.That(() => Model.CachePages.Free, Is.EqualTo(Model.CachePages.Capacity).After(10_000, 20), "pages leaked");

    public Task StopAsync() => _app.StopAsync();

    /// <summary>Says that it is to stop, as a signal does; unlike <see cref="StopAsync"/>, it goes on listening.</summary>
    public void BeginToStop() => _app.Lifetime.StopApplication();

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        _handler.Dispose();
        await _app.DisposeAsync();
    }

    private void ExpectCalls(int running, int waiting) =>
        Assert.That(() => (Model.Activity.RunningCalls, Model.Activity.WaitingCalls), Is.EqualTo((running, waiting)).After(10_000, 20), "calls");

    private HttpClient NewHttp() => new(_handler, disposeHandler: false) { BaseAddress = new Uri(_app.Urls.Single()), Timeout = TimeSpan.FromMinutes(10) };

    private Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, (string Name, string Value)[] headers, HttpCompletionOption completion = HttpCompletionOption.ResponseContentRead, CancellationToken cancellationToken = default)
    {
        foreach ((string name, string value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        return Http.SendAsync(request, completion, cancellationToken);
    }
}
