// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Cli.Terminal;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Plan;

/// <summary>A plan as JSON: bytes, bytes per second, seconds, and shares of 1.</summary>
internal static class PlanJson
{
    /// <param name="plan">To write.</param>
    /// <param name="askedContext">What the context was to be; null where nothing was said.</param>
    /// <param name="cost">Null without prices.</param>
    public static string Write(MachinePlan plan, int? askedContext, RunningCost? cost) => JsonText.Write(json =>
    {
        json.WriteString("model", plan.Subject.Name);
        json.WriteNumber("bytes", plan.Subject.Summary.Bytes);
        json.WriteNumber("routed_expert_bytes", plan.Subject.RoutedBytes);
        json.WriteNumber("routed_expert_bytes_per_token", plan.Subject.RoutedBytesPerToken);
        json.WriteNumber("context_length", plan.ContextLength);
        if (askedContext is { } asked)
        {
            json.WriteNumber("context_length_asked_for", asked);
        }

        json.WriteBoolean("fits", plan.Fits);
        json.WriteString("problem", plan.Placement.Problem);
        WriteMachine(json, plan.Machine);
        WritePlacement(json, plan.Placement);
        if (plan.Fits)
        {
            WriteSpeed(json, plan);
        }

        WriteUpgrades(json, plan);
        if (plan.Fits && cost is not null)
        {
            WriteCost(json, plan.Headline, cost);
        }
    });

    private static void WriteMachine(Utf8JsonWriter json, PlanMachine machine)
    {
        json.WriteStartObject("machine");
        Write(json, "memory_bytes", machine.MemoryBytes);
        Write(json, "memory_bytes_per_second", machine.MemoryBytesPerSecond);
        Write(json, "cores", machine.Cores);
        Write(json, "operations_per_second_per_core", machine.OperationsPerSecondPerCore);
        json.WriteStartArray("drives");
        foreach (PlanDrives drives in machine.Drives)
        {
            json.WriteStartObject();
            json.WriteString("name", drives.Name);
            json.WriteNumber("count", drives.Count);
            Write(json, "bytes_per_second", drives.BytesPerSecond);
            if (drives.LayerShares is { } shares)
            {
                json.WriteNumber("expert_share", shares.Average());
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNumber("expert_bytes_per_second", machine.ExpertBytesPerSecond);
        if (machine.Gpu is { } gpu)
        {
            json.WriteStartObject("gpu");
            json.WriteString("state", PlanWords.GpuState);
            json.WriteNumber("bytes", gpu.Bytes);
            Write(json, "bytes_per_second", gpu.BytesPerSecond);
            Write(json, "link_bytes_per_second", gpu.LinkBytesPerSecond);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static void WritePlacement(Utf8JsonWriter json, Placement placement)
    {
        json.WriteStartArray("placement");
        foreach (PlacedPart part in placement.Parts)
        {
            json.WriteStartObject();
            json.WriteString("part", part.Name);
            json.WriteString("place", PlanWords.Of(part.Place));
            json.WriteNumber("bytes", part.Bytes);
            json.WriteString("precision", part.Format);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNumber("resident_share", placement.ResidentShare);
        json.WriteNumber("memory_reserve_bytes", placement.ReserveBytes);
        json.WriteNumber("memory_left_bytes", placement.MemoryLeft);
        json.WriteNumber("gpu_left_bytes", placement.GpuLeft);
        json.WriteString("gpu_note", placement.GpuNote);
    }

    private static void WriteSpeed(Utf8JsonWriter json, MachinePlan plan)
    {
        json.WriteStartArray("decode");
        foreach (DecodeRange range in plan.Decodes)
        {
            json.WriteStartObject();
            json.WriteNumber("context", range.Context);
            Write(json, "low", range.Low);
            Write(json, "likely", range.Likely);
            Write(json, "high", range.High);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("first_token");
        foreach (PromptTime time in PlanReport.Prompts(plan))
        {
            json.WriteStartObject();
            json.WriteNumber("prompt_tokens", time.Tokens);
            json.WriteNumber("seconds", time.Seconds);
            json.WriteNumber("passes", time.Passes);
            json.WriteString("bound", PlanWords.Of(time.Bound));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNumber("first_read_seconds", plan.FirstReadSeconds);
    }

    private static void WriteUpgrades(Utf8JsonWriter json, MachinePlan plan)
    {
        json.WriteStartArray("upgrades");
        foreach (PlanUpgrade upgrade in plan.Upgrades())
        {
            json.WriteStartObject();
            json.WriteString("name", upgrade.Name);
            json.WriteNumber("tokens_per_second", upgrade.Plan.Headline.Likely.TokensPerSecond);
            WriteFinite(json, "decode_gain", upgrade.DecodeGain);
            WriteFinite(json, "first_token_gain", upgrade.PromptGain);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteCost(Utf8JsonWriter json, DecodeRange range, RunningCost cost)
    {
        json.WriteStartObject("cost_per_million_output_tokens");
        json.WriteNumber("low_rate", cost.PerMillion(range.Low.TokensPerSecond));
        json.WriteNumber("likely_rate", cost.PerMillion(range.Likely.TokensPerSecond));
        json.WriteNumber("high_rate", cost.PerMillion(range.High.TokensPerSecond));
        if (cost is { ApiPrice: { } api, BreakEvenTokensPerSecond: { } breakEven })
        {
            json.WriteNumber("api", api);
            json.WriteNumber("break_even_tokens_per_second", breakEven);
        }

        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, string name, Fact fact)
    {
        json.WriteStartObject(name);
        json.WriteNumber("value", fact.Value);
        json.WriteString("origin", fact.Origin switch { FactOrigin.Given => "given", FactOrigin.Measured => "measured", _ => "assumed" });
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, string name, DecodeTime time)
    {
        json.WriteStartObject(name);
        json.WriteNumber("tokens_per_second", time.TokensPerSecond);
        json.WriteNumber("hit_rate", time.HitRate);
        json.WriteNumber("drive_seconds", time.DriveSeconds);
        json.WriteNumber("memory_seconds", time.MemorySeconds);
        json.WriteNumber("compute_seconds", time.ComputeSeconds);
        json.WriteNumber("gpu_seconds", time.GpuSeconds);
        json.WriteString("bound", PlanWords.Of(time.Bound));
        json.WriteEndObject();
    }

    /// <summary>Null where the model did not fit before: there is nothing to compare with.</summary>
    private static void WriteFinite(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumber(name, value);
        }
        else
        {
            json.WriteNull(name);
        }
    }
}
