// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text;
using System.Text.Json;
using KimiCpu.Extensions.AI;
using KimiCpu.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Server;

/// <summary>The server with kimi-nano at a free port of this machine, and clients of it.</summary>
internal sealed class RunningServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private RunningServer(WebApplication app)
    {
        _app = app;
        Http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()), Timeout = TimeSpan.FromMinutes(10) };
    }

    public HttpClient Http { get; }

    /// <summary>What was logged, all of it.</summary>
    public LogLines Log { get; private init; } = null!;

    public KimiModel Model => (KimiModel)_app.Services.GetRequiredService<IKimiModel>();

    public static async Task<RunningServer> StartAsync(Action<KimiServerOptions>? configure = null, Action<KimiOptions>? model = null)
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
        WebApplication app = builder.Build();
        app.MapKimi();
        app.MapKimiPage();
        await app.StartAsync();
        return new RunningServer(app) { Log = log };
    }

    public global::OpenAI.OpenAIClient Client(string key = "none") => new(
        new ApiKeyCredential(key),
        new global::OpenAI.OpenAIClientOptions { Endpoint = new Uri(Http.BaseAddress!, "/v1"), RetryPolicy = new ClientRetryPolicy(0), NetworkTimeout = TimeSpan.FromMinutes(10) });

    public async Task<(int Status, JsonElement Body, HttpResponseMessage Response)> PostAsync(string path, HttpContent content)
    {
        HttpResponseMessage response = await Http.PostAsync(path, content);
        return ((int)response.StatusCode, JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync()).RootElement, response);
    }

    public Task<(int Status, JsonElement Body, HttpResponseMessage Response)> PostAsync(string path, string json) =>
        PostAsync(path, new StringContent(json, Encoding.UTF8, "application/json"));

    /// <summary>Waits for calls that were left to end, and finds every page of the cache free.</summary>
    public void ExpectNoLeak() => Assert.That(() => Model.CachePages.Free, Is.EqualTo(Model.CachePages.Capacity).After(10_000, 20), "pages leaked");

    public Task StopAsync() => _app.StopAsync();

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await _app.DisposeAsync();
    }
}
