// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Tests.Server;

/// <summary>Paths and methods that are not there are answered in the form of the interface that the client speaks.</summary>
[TestFixture]
internal sealed class UnknownRouteTests
{
    [TestCase("POST", "/v1/embeddings", "POST /v1/embeddings is no route of this server. Its routes are ", "POST /v1/chat/completions")]
    [TestCase("POST", "/chat/completions", "Did you mean /v1/chat/completions?", "POST /api/chat")]
    [TestCase("POST", "/v1/v1/responses", "Did you mean /v1/responses?", "GET /v1/models")]
    [TestCase("GET", "/favicon.ico", "GET /favicon.ico is no route", "GET /health")]
    public async Task Unknown_paths_name_the_routes_in_the_form_of_OpenAI(string method, string path, string message, string route)
    {
        (int status, JsonElement body, _) = await SendAsync(method, path);
        JsonElement error = body.GetProperty("error");
        Assert.That((status, error.GetProperty("type").GetString(), error.GetProperty("code").GetString()), Is.EqualTo((404, "invalid_request_error", "unknown_url")));
        Assert.That(error.GetProperty("message").GetString(), Does.Contain(message).And.Contains(route).And.Not.Contains("/kimi/page"));
    }

    [Test]
    public async Task Unknown_paths_of_Anthropics_are_told_in_its_form()
    {
        (int status, JsonElement body, HttpResponseMessage response) = await SendAsync("POST", "/v1/messages/batches");
        Assert.That((status, body.GetProperty("type").GetString(), body.GetProperty("error").GetProperty("type").GetString()), Is.EqualTo((404, "error", "not_found_error")));
        Assert.That(body.GetProperty("error").GetProperty("message").GetString(), Does.Contain("/v1/messages/batches").And.Contains("POST /v1/messages/count_tokens").And.Not.Contains("/api/chat"));
        Assert.That(response.Headers.GetValues("request-id").Single(), Is.EqualTo(body.GetProperty("request_id").GetString()));
        (status, body, _) = await SendAsync("GET", "/v1/files", ("anthropic-version", "2023-06-01"));
        Assert.That((status, body.GetProperty("error").GetProperty("type").GetString()), Is.EqualTo((404, "not_found_error")));
    }

    [Test]
    public async Task Unknown_paths_of_Ollamas_are_told_in_its_form()
    {
        (int status, JsonElement body, _) = await SendAsync("POST", "/api/embed");
        Assert.That((status, body.GetProperty("error").GetString()), Is.EqualTo((404, body.GetProperty("error").GetString())));
        Assert.That(body.GetProperty("error").GetString(), Does.Contain("/api/embed").And.Contains("POST /api/generate").And.Not.Contains("/v1/"));
    }

    [TestCase("GET", "/v1/chat/completions", "POST")]
    [TestCase("PUT", "/v1/responses/resp_1", "GET, HEAD, DELETE")]
    [TestCase("POST", "/v1/models", "GET, HEAD")]
    [TestCase("DELETE", "/v1/messages", "POST")]
    [TestCase("GET", "/api/chat", "POST")]
    [TestCase("DELETE", "/health", "GET, HEAD")]
    [TestCase("POST", "/", "GET, HEAD")]
    public async Task Other_methods_are_refused_with_those_that_are_taken(string method, string path, string allowed)
    {
        (int status, JsonElement body, HttpResponseMessage response) = await SendAsync(method, path);
        Assert.That((status, string.Join(", ", response.Content.Headers.Allow)), Is.EqualTo((405, allowed)));
        JsonElement error = body.GetProperty("error");
        Assert.That(error.ValueKind == JsonValueKind.String ? error.GetString() : error.GetProperty("message").GetString(), Is.EqualTo($"{path} takes {allowed.Replace(", ", " or ", StringComparison.Ordinal)}; found {method}."));
    }

    /// <summary>With that of the page Ollama's own client asks whether a server is there.</summary>
    [TestCase("/", 200)]
    [TestCase("/v1/models", 200)]
    [TestCase("/v1/models/nobody", 404)]
    [TestCase("/api/tags", 200)]
    public async Task What_can_be_got_has_a_head_and_no_body(string path, int status)
    {
        RunningServer server = await SharedServers.Plain;
        using HttpResponseMessage got = await server.Http.GetAsync(path);
        using HttpResponseMessage head = await server.Http.SendAsync(new HttpRequestMessage(HttpMethod.Head, path));
        Assert.That(((int)got.StatusCode, (int)head.StatusCode), Is.EqualTo((status, status)));
        Assert.That(head.Content.Headers.ContentType, Is.EqualTo(got.Content.Headers.ContentType));
        Assert.That(await head.Content.ReadAsByteArrayAsync(), Is.Empty);
    }

    [Test]
    public async Task Without_a_key_nothing_is_told()
    {
        RunningServer server = await SharedServers.Guarded;
        Assert.That((int)(await server.GetAsync("/v1/nothing")).StatusCode, Is.EqualTo(401));
        Assert.That((int)(await server.GetAsync("/v1/nothing", ("x-api-key", RunningServer.Key))).StatusCode, Is.EqualTo(404));
    }

    /// <summary>Under a prefix, beside routes of an application, only what begins with it is answered.</summary>
    [Test]
    public async Task Other_routes_of_an_application_stay_its_own()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddKimi(o => (o.Embedded, o.OpenAtStart) = (true, false));
        builder.Services.AddKimiServer();
        await using WebApplication app = builder.Build();
        RouteGroupBuilder group = app.MapGroup("/llm");
        group.MapKimi();
        group.MapKimiFallback();
        app.MapPost("/api/orders", context => context.Response.WriteAsync("own"));
        await app.StartAsync();
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        (string Method, string Path, int Status, string Body)[] expected =
        [
            ("POST", "/api/orders", 200, "own"),
            ("GET", "/api/orders", 405, ""),
            ("GET", "/api/nothing", 404, ""),
            ("GET", "/llm/v1/nothing", 404, "POST /llm/v1/chat/completions"),
            ("POST", "/llm/chat/completions", 404, "Did you mean /llm/v1/chat/completions?"),
            ("GET", "/llm/api/embed", 404, "{\"error\":\"GET /llm/api/embed"),
            ("GET", "/llm/v1/completions", 405, "/llm/v1/completions takes POST"),
        ];
        foreach ((string method, string path, int status, string body) in expected)
        {
            using HttpResponseMessage response = await http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
            string found = await response.Content.ReadAsStringAsync();
            Assert.That((int)response.StatusCode, Is.EqualTo(status), path);
            Assert.That(found, body.Length == 0 ? Is.Empty : Does.Contain(body), path);
        }
    }

    private static async Task<(int Status, JsonElement Body, HttpResponseMessage Response)> SendAsync(string method, string path, params (string Name, string Value)[] headers)
    {
        RunningServer server = await SharedServers.Plain;
        var request = new HttpRequestMessage(new HttpMethod(method), path);
        foreach ((string name, string value) in headers)
        {
            request.Headers.Add(name, value);
        }

        HttpResponseMessage response = await server.Http.SendAsync(request);
        return ((int)response.StatusCode, JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync()).RootElement, response);
    }
}
