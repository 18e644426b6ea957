// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Tests.Server.Page;

/// <summary>What is sent for the page; what it does is shown by <see cref="BrowserTests"/>.</summary>
[TestFixture]
internal sealed partial class PageTests
{
    [Test]
    public async Task All_that_the_page_names_comes_from_the_server_itself()
    {
        RunningServer server = await SharedServers.Plain;
        var seen = new HashSet<string>();
        var asked = new Queue<string>([""]);
        while (asked.TryDequeue(out string? path))
        {
            if (!seen.Add(path))
            {
                continue;
            }

            HttpResponseMessage response = await server.Http.GetAsync("/" + path);
            string text = await response.Content.ReadAsStringAsync();
            Assert.That((int)response.StatusCode, Is.EqualTo(200), path);
            Assert.That(response.Headers.GetValues("Content-Security-Policy").Single(), Does.StartWith("default-src 'self';"));
            Assert.That(response.Headers.GetValues("X-Content-Type-Options").Single(), Is.EqualTo("nosniff"));
            Assert.That(response.Content.Headers.ContentType!.MediaType, Is.EqualTo(Path.GetExtension(path) switch { "" => "text/html", ".css" => "text/css", ".js" => "text/javascript", _ => "image/svg+xml" }));
            Assert.That(Foreign().Matches(text).Select(m => m.Value).Where(u => u != "http://www.w3.org"), Is.Empty, path);
            foreach (string name in Names().Matches(text).Select(m => m.Groups[1].Value))
            {
                asked.Enqueue($"kimi/{name}");
            }
        }

        string[] expected = ["", "kimi/icon.svg", "kimi/page.css", "kimi/page.js", "kimi/answer.js", "kimi/machine.js", "kimi/stream.js", "kimi/text.js"];
        Assert.That(seen, Is.EquivalentTo(expected));
    }

    /// <summary>Else they would go over those of the server, which are its model's.</summary>
    [Test]
    public async Task The_page_sends_no_temperature_and_no_top_p_by_itself()
    {
        string page = await (await SharedServers.Plain).Http.GetStringAsync(new Uri("/", UriKind.Relative));
        string[] inputs = [.. Inputs().Matches(page).Select(m => m.Value).Where(i => i.Contains("\"temperature\"", StringComparison.Ordinal) || i.Contains("\"top-p\"", StringComparison.Ordinal))];
        Assert.That(inputs, Has.Length.EqualTo(2).And.None.Contains("value="));
    }

    [Test]
    public async Task Under_a_prefix_the_page_leads_to_where_its_links_lead_to_it()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddKimi(o => o.Embedded = true);
        builder.Services.AddKimiServer();
        await using WebApplication app = builder.Build();
        RouteGroupBuilder group = app.MapGroup("/llm");
        group.MapKimi();
        group.MapKimiPage();
        await app.StartAsync();
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        HttpResponseMessage page = await http.GetAsync("/llm?a=b");
        Assert.That((page.StatusCode, page.RequestMessage!.RequestUri!.PathAndQuery), Is.EqualTo((HttpStatusCode.OK, "/llm/?a=b")));
        Assert.That((await http.GetAsync(new Uri(page.RequestMessage.RequestUri, "kimi/page.js"))).StatusCode, Is.EqualTo(HttpStatusCode.OK));
    }

    [Test]
    public async Task The_page_needs_no_key_and_the_machine_does()
    {
        RunningServer server = await SharedServers.Guarded;
        Assert.That((int)(await server.GetAsync("/")).StatusCode, Is.EqualTo(200));
        Assert.That((int)(await server.GetAsync("/kimi/machine")).StatusCode, Is.EqualTo(401));
        Assert.That(server.Model.Info.ContextLength, Is.Positive, "it is open");
        Assert.That((int)(await server.GetAsync("/kimi/machine", ("x-api-key", RunningServer.Key))).StatusCode, Is.EqualTo(200));
    }

    /// <summary>Null, and not left out, is what tells the page that all experts are in memory.</summary>
    [Test]
    public async Task The_machine_tells_what_the_drives_do()
    {
        RunningServer server = await SharedServers.Guarded;
        Assert.That(server.Model.Info.ContextLength, Is.Positive, "it is open");
        using HttpResponseMessage response = await server.GetAsync("/kimi/machine", ("x-api-key", RunningServer.Key));
        using JsonDocument json = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        Assert.That(json.RootElement.GetProperty("expert_hit_rate").ValueKind, Is.EqualTo(JsonValueKind.Null));
        Assert.That(json.RootElement.GetProperty("drive_bytes_per_second").GetDouble(), Is.Zero);
    }

    /// <summary>A page that somebody left open would open the model, and try again each second where that fails.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task To_look_at_the_machine_opens_no_model(CancellationToken cancellationToken)
    {
        await using RunningServer closed = await RunningServer.StartAsync(model: o => o.OpenAtStart = false);
        Assert.That(await RefusedAsync(closed), Does.Contain("first question opens it"));
        closed.ModelHost.IsOpenedByProgram = true;
        Assert.That(await RefusedAsync(closed), Does.Contain("is being opened"), "kimi serve does that, and not the first question");
        Assert.That(closed.ModelHost.State, Is.EqualTo(ModelState.Closed));
        await using RunningServer broken = await RunningServer.StartAsync(model: o => (o.Embedded, o.ModelPath) = (false, Repository.Checkpoint("..")));
        Assert.That(() => broken.ModelHost.State, Is.EqualTo(ModelState.Failed).After(30_000, 20));
        for (int i = 0; i < 3; i++)
        {
            Assert.That(await RefusedAsync(broken), Does.Contain("could not be opened"));
        }

        Assert.That(broken.Log.Lines, Has.Exactly(1).Contains("could not be opened"));
        broken.ModelHost.IsOpenedByProgram = true;
        Assert.That(await RefusedAsync(broken), Does.Contain("is being opened"), "the program ends, and no question tries again");

        async Task<string> RefusedAsync(RunningServer server)
        {
            using HttpResponseMessage response = await server.Http.GetAsync("/kimi/machine", cancellationToken);
            string body = await response.Content.ReadAsStringAsync(cancellationToken);
            Assert.That(((int)response.StatusCode, body.Contains("\"model_not_available\"", StringComparison.Ordinal)), Is.EqualTo((503, true)), body);
            return body;
        }
    }

    [GeneratedRegex("<input [^>]*>")]
    private static partial Regex Inputs();

    [GeneratedRegex("https?://[A-Za-z0-9.-]+")]
    private static partial Regex Foreign();

    [GeneratedRegex("(?:kimi/|from \"\\./)([a-z]+\\.[a-z]+)\"")]
    private static partial Regex Names();
}
