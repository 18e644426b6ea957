// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;

namespace KimiCpu.Server.Page;

/// <summary><c>/</c>: a chat in the browser, without a key since it says nothing; <c>/kimi/machine</c>: what the model is doing, behind the gate.</summary>
internal static class PageEndpoints
{
    public static void Map(RouteGroupBuilder group, RequestGate gate, ServedModel model)
    {
        group.MapGet("/", context => PageFiles.SendAsync(context, PageFiles.Index)).WithDisplayName("/");
        foreach (string name in PageFiles.Assets)
        {
            group.MapGet($"/kimi/{name}", context => PageFiles.SendAsync(context, name)).WithDisplayName($"/kimi/{name}");
        }

        group.MapGet("/kimi/machine", gate.Guard(OpenAIDialect.Instance, call => MachineState.SendAsync(call, model), counts: false)).WithDisplayName("/kimi/machine");
    }
}
