// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Routing;

/// <summary>What <c>kimi simulate</c> shows: a table or JSON.</summary>
internal static class SimulationReport
{
    public static void Write(CliStreams streams, TraceAccesses accesses, SkewFit?[] skews, IEnumerable<SimulationResult> results, bool lookAhead)
    {
        RoutingTraceHeader header = accesses.Header;
        streams.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{streams.Shown($"{header.ModelName} ({header.Source})")}: {accesses.Layers} MoE layers x {header.ExpertCount} experts of {InspectCommand.Bytes((long)header.ExpertBytes)}, {header.ExpertsPerToken} a token; {accesses.Tokens} tokens counted of {accesses.Steps} forward passes"));
        streams.Output.WriteLine(Skew(skews));
        if (accesses.Recall is { } recall)
        {
            streams.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"look-ahead: {100 * recall:F1} % of a layer's experts were predicted by the layer before it"));
        }

        string[] headers = ["policy", ">slots", ">memory", ">resident", ">hit rate", ">misses/token", ">read/token", .. lookAhead ? new[] { ">foreseen/token", ">in vain/token" } : []];
        TextTable.Write(streams, headers, results.Select(r => Row(r, lookAhead)));
    }

    public static string ToJson(TraceAccesses accesses, SkewFit?[] skews, IEnumerable<SimulationResult> results) => JsonText.Write(json =>
    {
        RoutingTraceHeader header = accesses.Header;
        json.WriteString("model", header.ModelName);
        json.WriteString("source", header.Source);
        json.WriteNumber("moe_layers", accesses.Layers);
        json.WriteNumber("experts_per_layer", header.ExpertCount);
        json.WriteNumber("experts_per_token", header.ExpertsPerToken);
        json.WriteNumber("expert_bytes", header.ExpertBytes);
        json.WriteNumber("forward_passes", accesses.Steps);
        json.WriteNumber("tokens", accesses.Tokens);
        if (accesses.Recall is { } recall)
        {
            json.WriteNumber("look_ahead_recall", recall);
        }
        else
        {
            json.WriteNull("look_ahead_recall");
        }

        json.WriteStartArray("skew");
        for (int layer = 0; layer < skews.Length; layer++)
        {
            WriteSkew(json, header.MoeLayers[layer], skews[layer]);
        }

        json.WriteEndArray();
        json.WriteStartArray("results");
        foreach (SimulationResult result in results)
        {
            WriteResult(json, result);
        }

        json.WriteEndArray();
    });

    private static string Skew(SkewFit?[] skews)
    {
        SkewFit[] known = [.. skews.OfType<SkewFit>()];
        return known.Length == 0
            ? "skew: the trace is too short to tell"
            : string.Create(
                CultureInfo.InvariantCulture,
                $"skew: use falls with rank^-{known.Average(s => s.Exponent):F2} on average over the layers (from {known.Min(s => s.Exponent):F2} to {known.Max(s => s.Exponent):F2}; 95 % interval of a layer ±{known.Average(s => s.Confidence):F2})");
    }

    private static string[] Row(SimulationResult r, bool lookAhead) =>
    [
        r.Policy,
        Number(r.Slots, "F0"),
        InspectCommand.Bytes((long)(double)r.Slots * r.ExpertBytes),
        $"{Number(100 * r.ResidentShare, "F1")} %",
        $"{Number(100 * r.HitRate, "F1")} %",
        Number(r.MissesPerToken, "F1"),
        InspectCommand.Bytes((long)r.BytesPerToken),
        .. lookAhead ? new[] { Number((double)r.Foreseen / r.Tokens, "F1"), Number((double)r.InVain / r.Tokens, "F1") } : [],
    ];

    private static void WriteSkew(Utf8JsonWriter json, int layer, SkewFit? skew)
    {
        json.WriteStartObject();
        json.WriteNumber("layer", layer);
        if (skew is not null)
        {
            json.WriteNumber("zipf_exponent", skew.Exponent);
            json.WriteNumber("confidence_95", skew.Confidence);
        }

        json.WriteEndObject();
    }

    private static void WriteResult(Utf8JsonWriter json, SimulationResult result)
    {
        json.WriteStartObject();
        json.WriteString("policy", result.Policy);
        json.WriteNumber("slots", result.Slots);
        json.WriteNumber("resident_share", result.ResidentShare);
        json.WriteNumber("hit_rate", result.HitRate);
        json.WriteNumber("misses_per_token", result.MissesPerToken);
        json.WriteNumber("bytes_per_token", result.BytesPerToken);
        json.WriteNumber("foreseen_per_token", (double)result.Foreseen / result.Tokens);
        json.WriteNumber("read_in_vain_per_token", (double)result.InVain / result.Tokens);
        json.WriteEndObject();
    }

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
