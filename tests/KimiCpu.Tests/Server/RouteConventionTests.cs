// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Encodings.Web;
using System.Text.RegularExpressions;
using KimiCpu.Extensions.AI;
using KimiCpu.Server;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KimiCpu.Tests.Server;

/// <summary>What an application asks of the routes holds for every one of them, and none is elsewhere than in its group.</summary>
[TestFixture]
internal sealed partial class RouteConventionTests
{
    private const string Prefix = "/llm";

    [Test]
    [CancelAfter(60_000)]
    public async Task Every_route_of_a_group_asks_for_the_authorization_that_it_requires([Values] bool page, CancellationToken cancellationToken)
    {
        await using WebApplication app = Build();
        RouteGroupBuilder group = app.MapGroup(Prefix);
        (page ? group.MapKimiPage() : group.MapKimi()).RequireAuthorization();
        await app.StartAsync(cancellationToken);
        RouteEndpoint[] routes = [.. ((IEndpointRouteBuilder)app).DataSources.SelectMany(d => d.Endpoints).Cast<RouteEndpoint>()];
        Assert.That(routes.Select(r => r.RoutePattern.RawText), page ? Has.Some.EqualTo(Prefix + "/") : Has.Some.EqualTo(Prefix + "/v1/messages").And.Some.EqualTo(Prefix + "/v1/chat/completions"));
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        foreach (RouteEndpoint route in routes)
        {
            string path = Parameter().Replace(route.RoutePattern.RawText!, "x");
            Assert.That(path, Does.StartWith(Prefix));
            Assert.That(route.Metadata.GetMetadata<IAuthorizeData>(), Is.Not.Null, path);
            foreach (string method in route.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["PATCH"])
            {
                using var request = new HttpRequestMessage(new HttpMethod(method), path);
                using HttpResponseMessage response = await http.SendAsync(request, cancellationToken);
                Assert.That((int)response.StatusCode, Is.EqualTo(401), $"{method} {path}");
            }
        }
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_group_gives_the_routes_its_prefix(CancellationToken cancellationToken)
    {
        await using WebApplication app = Build();
        app.MapGroup(Prefix).MapKimi();
        await app.StartAsync(cancellationToken);
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
        using HttpResponseMessage within = await http.GetAsync($"{Prefix}/v1/models", cancellationToken);
        using HttpResponseMessage outside = await http.GetAsync("/v1/models", cancellationToken);
        Assert.That(((int)within.StatusCode, (int)outside.StatusCode), Is.EqualTo((200, 404)));
    }

    private static WebApplication Build()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddAuthentication(Nobody.Scheme).AddScheme<AuthenticationSchemeOptions, Nobody>(Nobody.Scheme, null);
        builder.Services.AddAuthorization();
        builder.Services.AddKimi(o => (o.Embedded, o.OpenAtStart) = (true, false));
        builder.Services.AddKimiServer();
        WebApplication app = builder.Build();
        app.UseRouting();
        app.UseAuthentication();
        app.UseAuthorization();
        return app;
    }

    [GeneratedRegex(@"\{[^}]*\}")]
    private static partial Regex Parameter();

    /// <summary>Knows nobody.</summary>
    private sealed class Nobody(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory loggers, UrlEncoder encoder) : AuthenticationHandler<AuthenticationSchemeOptions>(options, loggers, encoder)
    {
        public new const string Scheme = "nobody";

        protected override Task<AuthenticateResult> HandleAuthenticateAsync() => Task.FromResult(AuthenticateResult.NoResult());
    }
}
