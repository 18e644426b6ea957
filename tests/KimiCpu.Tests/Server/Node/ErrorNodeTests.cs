// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;

namespace KimiCpu.Tests.Server.Node;

/// <summary>Refusals as the official clients for JavaScript tell of them: by classes of their own, with what the server said.</summary>
[TestFixture]
internal sealed class ErrorNodeTests
{
    private RunningServer _server = null!;
    private NodeReport _openAI = null!;
    private NodeReport _anthropic = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        await NodePackages.RequireAsync();
        _server = await RunningServer.StartAsync(o => o.ApiKeys.Add("first"));
        _openAI = await NodeReport.OfAsync("openai-errors", _server);
        _anthropic = await NodeReport.OfAsync("anthropic-errors", _server);
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        if (_server is not null)
        {
            await using (_server)
            {
                _server.ExpectNoLeak();
            }
        }
    }

    [TestCase("key", "AuthenticationError", 401, "key", null)]
    [TestCase("model", "NotFoundError", 404, "kimi-nano", "model_not_found")]
    [TestCase("length", "BadRequestError", 400, "100000 in the completion", "context_length_exceeded")]
    [TestCase("lengthStreamed", "BadRequestError", 400, "100000 in the completion", "context_length_exceeded")]
    [TestCase("field", "BadRequestError", 400, "whole conversation", null)]
    [TestCase("response", "NotFoundError", 404, "not stored", "response_not_found")]
    [TestCase("endpoint", "NotFoundError", 404, "", null)]
    public void OpenAI_tells_of_it(string name, string kind, int status, string message, string? code)
    {
        JsonElement seen = _openAI[name];
        Assert.That((seen.Text("kind"), seen.Number("status")), Is.EqualTo((kind, status)));
        Assert.That(seen.Text("message"), Does.Contain(message));
        if (code is not null)
        {
            Assert.That(seen.Text("code"), Is.EqualTo(code));
        }

        if (name != "endpoint")
        {
            Assert.That(seen.Text("request"), Does.StartWith("req_"));
        }
    }

    /// <summary>It has begun by then, so there is no status; without an event that it knows, the client would end as if there were an answer.</summary>
    [Test]
    public void OpenAI_tells_of_a_response_that_fails_in_its_stream()
    {
        JsonElement seen = _openAI["responseStreamed"];
        Assert.That((seen.Text("kind"), seen.Text("code"), seen.Text("param"), seen.Text("type")), Is.EqualTo(("APIError", "context_length_exceeded", "input", "invalid_request_error")));
        Assert.That(seen.Text("message"), Does.StartWith("Your input exceeds the context window of this model together with max_output_tokens"));
    }

    [TestCase("key", "AuthenticationError", 401, "key", "authentication_error")]
    [TestCase("model", "NotFoundError", 404, "kimi-nano", "not_found_error")]
    [TestCase("retrieved", "NotFoundError", 404, "kimi-nano", "not_found_error")]
    [TestCase("length", "BadRequestError", 400, "+ 20000 > ", "invalid_request_error")]
    [TestCase("lengthStreamed", "BadRequestError", 400, "+ 100000 > ", "invalid_request_error")]
    [TestCase("field", "BadRequestError", 400, "web_search_20250305", "invalid_request_error")]
    [TestCase("endpoint", "NotFoundError", 404, "", null)]
    public void Anthropic_tells_of_it(string name, string kind, int status, string message, string? type)
    {
        JsonElement seen = _anthropic[name];
        Assert.That((seen.Text("kind"), seen.Number("status")), Is.EqualTo((kind, status)));
        Assert.That(seen.Text("message"), Does.Contain(message));
        if (type is not null)
        {
            Assert.That(seen.Text("type"), Is.EqualTo(type));
            Assert.That(seen.Text("request"), Does.StartWith("req_"));
        }
    }

    [Test]
    public async Task A_busy_server_says_when_to_come_back()
    {
        await using RunningServer server = await RunningServer.StartAsync(o => o.MaxRequests = 1);
        using HeldAnswer running = await server.HoldAnswerAsync();
        NodeReport busy = await NodeReport.OfAsync("busy", server);
        foreach (string name in (string[])["openAI", "openAIStreamed", "anthropic", "anthropicStreamed"])
        {
            Assert.That((busy[name].GetProperty("isRateLimit").GetBoolean(), busy[name].Number("status")), Is.EqualTo((true, 429)), name);
            Assert.That(int.Parse(busy[name].Text("retryAfter")!, CultureInfo.InvariantCulture), Is.Positive, name);
        }
    }

    [Test]
    public void A_bearer_token_is_a_key_to_Anthropics_interface_too() => Assert.That(_anthropic["token"].Text("stop"), Is.EqualTo("max_tokens"));
}
