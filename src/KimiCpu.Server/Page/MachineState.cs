// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Page;

/// <summary>What the model is doing, as JSON: <see cref="KimiModelActivity"/> and the uses of its experts. Who only looks opens no model, and does not wait until it is open.</summary>
internal static class MachineState
{
    public static async Task SendAsync(ServerCall call, ServedModel served)
    {
        IKimiModel model = served.IfOpen(out ModelState state) ?? throw new RequestException(StatusCodes.Status503ServiceUnavailable, state switch
        {
            ModelState.Closed => "The model is not open yet; the first question opens it.",
            ModelState.Failed => "The model could not be opened; the server's log says why. The next question tries again.",
            _ => "The model is being opened.",
        }, code: "model_not_available");
        KimiModelActivity activity = model.Activity;
        await call.WriteJsonAsync(new JsonObject
        {
            ["model"] = served.Name,
            ["placement"] = model.Placement,
            ["failure"] = activity.Failure,
            ["running_calls"] = activity.RunningCalls,
            ["waiting_calls"] = activity.WaitingCalls,
            ["cache_pages"] = activity.CachePages,
            ["used_cache_pages"] = activity.UsedCachePages,
            ["reusable_cache_pages"] = activity.ReusableCachePages,
            ["tokens_per_second"] = activity.TokensPerSecond,
            ["prompt_tokens_per_second"] = activity.PromptTokensPerSecond,
            ["bytes_per_second"] = activity.BytesPerSecond,
            ["memory_bytes_per_second"] = activity.MemoryBandwidth,
            ["drive_bytes_per_second"] = activity.DriveBytesPerSecond,
            ["expert_hit_rate"] = activity.ExpertHitRate,
            ["expert_uses"] = new JsonArray([.. model.CountExpertUses().Select(layer => new JsonArray([.. layer.Select(n => JsonValue.Create(n))]))]),
        }).ConfigureAwait(false);
    }
}
