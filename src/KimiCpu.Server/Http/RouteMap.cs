// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace KimiCpu.Server.Http;

/// <summary>Maps routes, most of them behind the gate, and answers other methods at their paths in the form of the same interface.</summary>
/// <param name="group">Where.</param>
/// <param name="gate">What requests pass through.</param>
internal sealed class RouteMap(RouteGroupBuilder group, RequestGate gate)
{
    private readonly Dictionary<string, (Func<HttpRequest, IDialect> Dialect, List<string> Methods)> _paths = [];

    /// <param name="path">Pattern of the route.</param>
    /// <param name="dialect">How errors are written.</param>
    /// <param name="handle">Answers; may throw.</param>
    /// <param name="counts">Whether it is one of the requests that there may be only so many of.</param>
    public void Post(string path, IDialect dialect, Func<ServerCall, Task> handle, bool counts = true) => Map([HttpMethods.Post], path, _ => dialect, gate.Guard(_ => dialect, handle, counts));

    /// <inheritdoc cref="Post"/>
    public void Get(string path, IDialect dialect, Func<ServerCall, Task> handle, bool counts = true) => Get(path, _ => dialect, handle, counts);

    /// <summary>Asked with HEAD, it answers without the body, which the server beneath leaves out.</summary>
    /// <inheritdoc cref="Post"/>
    public void Get(string path, Func<HttpRequest, IDialect> dialect, Func<ServerCall, Task> handle, bool counts = true) => Map([HttpMethods.Get, HttpMethods.Head], path, dialect, gate.Guard(dialect, handle, counts));

    /// <inheritdoc cref="Post"/>
    public void Delete(string path, IDialect dialect, Func<ServerCall, Task> handle, bool counts = true) => Map([HttpMethods.Delete], path, _ => dialect, gate.Guard(_ => dialect, handle, counts));

    /// <summary>What everybody may look at, or ask whether it is there, past the gate.</summary>
    /// <param name="path">Pattern of the route.</param>
    /// <param name="dialect">How errors of other methods are written.</param>
    /// <param name="handle">Answers.</param>
    /// <param name="isPart">Whether it is a part of another route's page, of which people who look for a route need not hear.</param>
    public void Open(string path, IDialect dialect, RequestDelegate handle, bool isPart = false) => Map([HttpMethods.Get, HttpMethods.Head], path, _ => dialect, handle, isPart);

    /// <summary>Maps what remains, once all routes are mapped.</summary>
    public void RefuseOtherMethods()
    {
        foreach ((string path, (Func<HttpRequest, IDialect> dialect, List<string> methods)) in _paths)
        {
            string allowed = string.Join(", ", methods);
            RequestDelegate refuse = gate.Guard(dialect, Refuse, counts: false);
            group.Map(path, refuse).WithDisplayName(path).WithOrder(1);

            Task Refuse(ServerCall call)
            {
                HttpContext context = call.Context;
                context.Response.Headers.Allow = allowed;
                throw new RequestException(StatusCodes.Status405MethodNotAllowed, $"{context.Request.PathBase}{context.Request.Path} takes {string.Join(" or ", methods)}; found {context.Request.Method}.", code: "method_not_supported");
            }
        }
    }

    private void Map(string[] methods, string path, Func<HttpRequest, IDialect> dialect, RequestDelegate handle, bool isPart = false)
    {
        group.MapMethods(path, methods, handle).WithDisplayName(path).WithMetadata(new KimiRoute(dialect, isPart));
        if (!_paths.TryGetValue(path, out var known))
        {
            _paths.Add(path, known = (dialect, []));
        }

        known.Methods.AddRange(methods);
    }
}
