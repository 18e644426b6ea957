// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI;

namespace KimiCpu.Server.Page;

/// <summary><c>/</c>: a chat in the browser, without a key since it says nothing; <c>/kimi/machine</c>: what the model is doing, behind the gate.</summary>
internal static class PageEndpoints
{
    public static void Map(RouteMap routes, ServedModel model)
    {
        routes.Open("/", OpenAIDialect.Instance, context => PageFiles.SendAsync(context, PageFiles.Index));
        foreach (string name in PageFiles.Assets)
        {
            routes.Open($"/kimi/{name}", OpenAIDialect.Instance, context => PageFiles.SendAsync(context, name), isPart: true);
        }

        routes.Get("/kimi/machine", OpenAIDialect.Instance, call => MachineState.SendAsync(call, model), counts: false);
    }
}
