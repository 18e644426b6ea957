// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu;

/// <summary>Tells listeners of a step of the model.</summary>
internal static class StepTelemetry
{
    /// <param name="model">Its name.</param>
    /// <param name="time">That the step took.</param>
    /// <param name="prompts">Whether it took in prompt tokens.</param>
    /// <param name="driveBytes">Read from drives meanwhile.</param>
    /// <param name="lookups">Where its experts were found; none where all are in memory, and then nothing is said of drives.</param>
    public static void Tell(string model, TimeSpan time, bool prompts, long driveBytes, ExpertLookups lookups)
    {
        Listeners.Tell(KimiTelemetry.StepDuration, time.TotalSeconds, new TagList { { "gen_ai.request.model", model }, { "kimicpu.step.prompts", prompts } });
        if (lookups.All > 0)
        {
            Listeners.Tell(KimiTelemetry.ExpertLookups, lookups.Hits, Found(model, "hit"));
            Listeners.Tell(KimiTelemetry.ExpertLookups, lookups.Late, Found(model, "late"));
            Listeners.Tell(KimiTelemetry.ExpertLookups, lookups.Misses, Found(model, "miss"));
            Listeners.Tell(KimiTelemetry.DriveBytes, driveBytes, new TagList { { "gen_ai.request.model", model } });
        }
    }

    private static TagList Found(string model, string result) => new() { { "gen_ai.request.model", model }, { "kimicpu.expert_cache.result", result } };
}
