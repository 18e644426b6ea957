// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Cli.Serve;

/// <summary>
/// Answers only requests to names of this machine itself, and to others that it is told: a browser may have been led to believe that a page
/// of another name is at this address.
/// </summary>
internal static class LocalNames
{
    private const string AllBelow = "*.";

    private static readonly string[] s_names = ["localhost", "127.0.0.1", "[::1]"];

    /// <summary>What those ask who end a server that does not answer, by its address, which may be another one each time. There is nothing that a page could read.</summary>
    private static readonly PathString[] s_probes = ["/health", "/ready"];

    /// <param name="host">Where the server listens.</param>
    /// <param name="others">Names that it is told.</param>
    /// <exception cref="FormatException">One of them is no name.</exception>
    /// <returns>All names that it answers.</returns>
    public static string[] Of(string host, IEnumerable<string?> others)
    {
        IEnumerable<string> own = IsAnyAddress(host) ? s_names : s_names.Append(AsNamed(host));
        return [.. own.Concat(others.Select(Checked)).Distinct(StringComparer.OrdinalIgnoreCase)];
    }

    /// <param name="services">Of the server.</param>
    /// <param name="names">That it answers.</param>
    public static void Filter(IServiceCollection services, string[] names) => services.AddHostFiltering(o =>
    {
        o.AllowedHosts = names;

        // It would be a page, which programs cannot read.
        o.IncludeFailureMessage = false;
    });

    /// <param name="app">The server.</param>
    public static void Use(WebApplication app) => app.UseWhen(context => !s_probes.Contains(context.Request.Path), filtered =>
    {
        filtered.Use(TellAsync);
        filtered.UseHostFiltering();
    });

    private static async Task TellAsync(HttpContext context, RequestDelegate next)
    {
        await next(context);
        if (context.Response is { StatusCode: StatusCodes.Status400BadRequest, HasStarted: false, ContentType: null })
        {
            string name = context.Request.Headers.Host.ToString();

            // The names that it does answer are not for a page that was led here.
            string message = $"The request names the host '{name}', and this server answers localhost and the hosts that it is told. Use one of these, or let it answer this one too, such as a proxy's name (kimi serve --allow-host NAME, or Server:AllowedHosts).";
            var error = new JsonObject { ["message"] = message, ["type"] = "invalid_request_error", ["param"] = null, ["code"] = "invalid_host" };
            context.Response.ContentType = "application/json";
            await context.Response.WriteAsync(new JsonObject { ["error"] = error }.ToJsonString(), context.RequestAborted);
        }
    }

    private static string Checked(string? name) => name is not null && !IsAnyAddress(name) && Uri.CheckHostName(name.StartsWith(AllBelow, StringComparison.Ordinal) ? name[AllBelow.Length..] : name) != UriHostNameType.Unknown
        ? AsNamed(name)
        : throw new FormatException($"--allow-host, or Server:AllowedHosts, takes names of hosts such as kimi.example.com, or *.example.com for all below it, without scheme, port and path; found '{name}'.");

    /// <summary>No request names it, and the filter would take it for a sign that all names are answered.</summary>
    private static bool IsAnyAddress(string host) => IPAddress.TryParse(host, out IPAddress? address) && (address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any));

    /// <summary>As requests name it: an address as .NET and browsers write it, which of several forms take the shortest, one of IPv6 in brackets.</summary>
    private static string AsNamed(string name) => !IPAddress.TryParse(name.Trim('[', ']'), out IPAddress? address) ? name
        : address.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{address}]"
        : $"{address}";
}
