// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json.Nodes;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;
using KimiCpu.Server.OpenAI;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace KimiCpu.Server;

/// <summary><c>/v1/models</c>, which two interfaces have: requests that name a version of Anthropic's are answered in its form, all others in OpenAI's.</summary>
internal static class ModelEndpoints
{
    public static void Map(RouteMap routes, ServedModel model)
    {
        Map(routes, "/v1/models", _ => new JsonObject { ["object"] = "list", ["data"] = new JsonArray(ForOpenAI(model)) }, _ => new JsonObject
        {
            ["data"] = new JsonArray(ForAnthropic(model)),
            ["has_more"] = false,
            ["first_id"] = model.Name,
            ["last_id"] = model.Name,
        });
        Map(routes, "/v1/models/{**name}", call => Named(call, model, ForOpenAI), call => Named(call, model, ForAnthropic));
    }

    private static void Map(RouteMap routes, string path, Func<ServerCall, JsonObject> openAI, Func<ServerCall, JsonObject> anthropic)
    {
        routes.Get(
            path,
            request => AnthropicDialect.IsMeantBy(request) ? AnthropicDialect.Instance : OpenAIDialect.Instance,
            call => call.WriteJsonAsync(call.Dialect is AnthropicDialect ? anthropic(call) : openAI(call)),
            counts: false);
    }

    private static JsonObject Named(ServerCall call, ServedModel model, Func<ServedModel, JsonObject> describe)
    {
        // Names have slashes, which some clients escape, and routes leave escaped.
        model.Require(call.Context.GetRouteValue("name") is string name ? Uri.UnescapeDataString(name) : null);
        return describe(model);
    }

    private static JsonObject ForOpenAI(ServedModel model) => new()
    {
        ["id"] = model.Name,
        ["object"] = "model",
        ["created"] = model.Since.ToUnixTimeSeconds(),
        ["owned_by"] = "kimicpu",
    };

    private static JsonObject ForAnthropic(ServedModel model) => new()
    {
        ["type"] = "model",
        ["id"] = model.Name,
        ["display_name"] = model.Name,
        ["created_at"] = model.Since.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture),
        ["lifecycle"] = "active",
        ["max_input_tokens"] = model.IfOpen(out _) is { } open ? AnthropicDialect.MostOfPrompt(open.Info.ContextLength) : null,

        // As many as the prompt leaves; whoever asked for all of the context would be refused.
        ["max_tokens"] = null,
        ["capabilities"] = null,
        ["line"] = null,
        ["deprecated_at"] = null,
        ["retires_at"] = null,
    };
}
