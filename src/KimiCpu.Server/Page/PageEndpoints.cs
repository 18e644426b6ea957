// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Page;

/// <summary><c>/</c>: a chat in the browser, without a key since it says nothing; <c>/kimi/machine</c>: what the model is doing, behind the gate.</summary>
internal static class PageEndpoints
{
    public static void Map(RouteMap routes, ServedModel model)
    {
        routes.Open("/", OpenAIDialect.Instance, SendIndexAsync);
        foreach (string name in PageFiles.Assets)
        {
            routes.Open($"/kimi/{name}", OpenAIDialect.Instance, context => PageFiles.SendAsync(context, name), isPart: true);
        }

        routes.Get("/kimi/machine", OpenAIDialect.Instance, call => MachineState.SendAsync(call, model), counts: false);
    }

    /// <summary>The page's own links are relative, so its address must end with a slash, also where a group gives it a prefix.</summary>
    private static Task SendIndexAsync(HttpContext context)
    {
        HttpRequest request = context.Request;
        if (request.Path.Value is { } path && path.EndsWith('/'))
        {
            return PageFiles.SendAsync(context, PageFiles.Index);
        }

        context.Response.Redirect($"{(request.PathBase + request.Path).ToUriComponent()}/{request.QueryString}");
        return Task.CompletedTask;
    }
}
