// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server.Answers;
using KimiCpu.Server.OpenAI;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Http;

/// <summary><c>/health</c>: the process answers. <c>/ready</c>: it answers requests. Neither asks for a key.</summary>
internal static class StatusEndpoints
{
    public static void Map(RouteMap routes, ServedModel model, ServerEnd end)
    {
        routes.Open("/health", OpenAIDialect.Instance, context => WriteAsync(context, StatusCodes.Status200OK, new JsonObject { ["status"] = "ok" }));
        routes.Open("/ready", OpenAIDialect.Instance, context =>
        {
            bool ready = model.IsReadyForCalls(out ModelState state) && !end.IsStopping;
            return WriteAsync(context, ready ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable, new JsonObject
            {
                ["status"] = end.IsStopping ? "stopping" : $"{state}".ToLowerInvariant(),
                ["model"] = model.Name,
            });
        });
    }

    private static async Task WriteAsync(HttpContext context, int status, JsonObject body)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json; charset=utf-8";
        await context.Response.Body.WriteAsync(JsonText.Bytes(body), context.RequestAborted).ConfigureAwait(false);
    }
}
