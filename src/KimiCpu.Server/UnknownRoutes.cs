// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;
using KimiCpu.Server.OpenAI;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Server;

/// <summary>Says of paths that nobody answers what there is instead: most often the base URL of a client is one part too long or too short.</summary>
internal static class UnknownRoutes
{
    private const int LongestShown = 200;

    public static IEndpointConventionBuilder Map(IEndpointRouteBuilder endpoints, RequestGate gate) =>
        endpoints.MapFallback("{**path}", gate.Guard(DialectOf, Refuse, counts: false)).WithDisplayName("an unknown route");

    /// <summary>The interface that a request means.</summary>
    private static IDialect DialectOf(HttpRequest request)
    {
        PathString path = Relative(request);
        return path.StartsWithSegments("/api") ? OllamaDialect.Instance
            : path.StartsWithSegments("/v1/messages") || AnthropicDialect.IsMeantBy(request) ? AnthropicDialect.Instance
            : OpenAIDialect.Instance;
    }

    private static Task Refuse(ServerCall call)
    {
        HttpRequest request = call.Context.Request;
        string path = request.Path.Value ?? "/";
        string asked = Relative(request);
        string prefix = path.EndsWith(asked, StringComparison.Ordinal) ? path[..^asked.Length] : "";
        (string Methods, string Path, IDialect Dialect)[] routes = [.. RoutesOf(request).Where(r => r.Path.StartsWith(prefix, StringComparison.OrdinalIgnoreCase)).Select(r => r with { Path = r.Path[prefix.Length..] })];
        string[] meant = [.. routes.Select(r => r.Path).Where(p => EndsWith(p, asked) || EndsWith(asked, p)).Distinct().Select(p => prefix + p)];
        IEnumerable<string> listed = routes.Where(r => IsAbout(r.Dialect, r.Path, call.Dialect, asked)).Select(r => $"{r.Methods} {prefix}{r.Path}").Distinct();
        throw new RequestException(
            StatusCodes.Status404NotFound,
            $"{request.Method} {(path.Length <= LongestShown ? path : path[..LongestShown] + "…")} is no route of this server.{(meant.Length > 0 ? $" Did you mean {string.Join(" or ", meant)}?" : "")} Its routes are {string.Join(", ", listed)}.",
            code: "unknown_url");
    }

    /// <summary>The path below the prefix of the group.</summary>
    private static string Relative(HttpRequest request) => $"/{request.RouteValues["path"]}";

    private static IEnumerable<(string Methods, string Path, IDialect Dialect)> RoutesOf(HttpRequest request) =>
        from endpoint in request.HttpContext.RequestServices.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>()
        let route = endpoint.Metadata.GetMetadata<KimiRoute>()
        where route is { IsPart: false }
        let methods = endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods[0]
        select (methods, $"/{endpoint.RoutePattern.RawText?.TrimStart('/').Replace("{**", "{", StringComparison.Ordinal)}", route.Dialect(request));

    /// <summary>Of what is told: all of the interface that was asked for, and of no interface in particular everything.</summary>
    private static bool IsAbout(IDialect dialect, string route, IDialect asked, string path) =>
        asked is OpenAIDialect ? !path.StartsWith("/v1/", StringComparison.OrdinalIgnoreCase) || route.StartsWith("/v1/", StringComparison.Ordinal) : dialect == asked;

    private static bool EndsWith(string path, string end) => end.Length > 1 && path.EndsWith(end, StringComparison.OrdinalIgnoreCase);
}
