// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Page;

/// <summary>The page's files, which are part of this assembly: nothing is fetched from elsewhere, and nothing may be.</summary>
internal static class PageFiles
{
    private const string Prefix = "KimiCpu.Server.Page/";

    /// <summary>Of the page itself.</summary>
    public const string Index = "index.html";

    /// <summary>Names of what the page asks for.</summary>
    public static IEnumerable<string> Assets => typeof(PageFiles).Assembly.GetManifestResourceNames()
        .Where(n => n.StartsWith(Prefix, StringComparison.Ordinal)).Select(n => n[Prefix.Length..]).Where(n => n != Index);

    public static async Task SendAsync(HttpContext context, string name)
    {
        HttpResponse response = context.Response;
        response.ContentType = Path.GetExtension(name) switch
        {
            ".html" => "text/html; charset=utf-8",
            ".css" => "text/css; charset=utf-8",
            ".js" => "text/javascript; charset=utf-8",
            ".svg" => "image/svg+xml",
            _ => "application/octet-stream",
        };
        response.Headers.ContentSecurityPolicy = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
        response.Headers.XContentTypeOptions = "nosniff";
        response.Headers.CacheControl = "no-cache";
        response.Headers["Referrer-Policy"] = "no-referrer";
        using Stream file = typeof(PageFiles).Assembly.GetManifestResourceStream(Prefix + name)!;
        response.ContentLength = file.Length;
        await file.CopyToAsync(response.Body, context.RequestAborted).ConfigureAwait(false);
    }
}
