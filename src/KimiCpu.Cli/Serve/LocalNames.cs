// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Cli.Serve;

/// <summary>
/// Answers only requests to names of this machine itself: a browser may have been led to believe that a page of another name is
/// at this address.
/// </summary>
internal static class LocalNames
{
    private static readonly string[] s_names = ["localhost", "127.0.0.1", "[::1]"];

    /// <param name="services">Of the server.</param>
    /// <param name="host">Where it listens.</param>
    public static void Filter(IServiceCollection services, string host) => services.AddHostFiltering(o =>
    {
        o.AllowedHosts = [.. s_names, host];

        // It would be a page, which programs cannot read.
        o.IncludeFailureMessage = false;
    });

    public static void Use(WebApplication app)
    {
        app.Use(TellAsync);
        app.UseHostFiltering();
    }

    private static async Task TellAsync(HttpContext context, RequestDelegate next)
    {
        await next(context);
        if (context.Response is { StatusCode: StatusCodes.Status400BadRequest, HasStarted: false, ContentType: null })
        {
            string name = context.Request.Headers.Host.ToString();
            string message = $"The request names the host '{name}'; this server listens to this machine only and answers {string.Join(", ", s_names)}. Use one of these, or let the server listen at an address of the network (kimi serve --host).";
            var error = new JsonObject { ["message"] = message, ["type"] = "invalid_request_error", ["param"] = null, ["code"] = "invalid_host" };
            context.Response.ContentType = "application/json";
            await context.Response.WriteAsync(new JsonObject { ["error"] = error }.ToJsonString(), context.RequestAborted);
        }
    }
}
