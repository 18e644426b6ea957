// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi inspect</c>.</summary>
internal static class InspectCommand
{
    public static Command Make(CliStreams streams)
    {
        var folder = new Argument<string>("DIR") { Description = "Checkpoint folder." };
        ModelNames.Refuse(folder);
        var json = new Option<bool>("--json") { Description = "JSON instead of tables." };
        var command = new Command("inspect", "Shows what a checkpoint is, what it holds, what a token costs and what memory it needs; reads headers only.") { folder, json };
        command.SetAction(parsed =>
        {
            using var progress = new ProgressLine(streams, "Reading");
            using Checkpoint checkpoint = Checkpoint.Open(parsed.GetValue(folder)!, (done, total) => progress.Report("shard", done, total));
            CheckpointSummary summary = CheckpointSummary.Of(checkpoint);
            progress.Dispose();
            if (parsed.GetValue(json))
            {
                streams.Output.WriteLine(ToJson(checkpoint, summary));
            }
            else
            {
                Show(streams, checkpoint, summary);
            }

            return KimiCommand.Ok;
        });
        return command;
    }

    private static void Show(CliStreams streams, Checkpoint checkpoint, CheckpointSummary summary)
    {
        KimiConfig c = checkpoint.Config;
        streams.Output.WriteLine(streams.Shown($"{checkpoint.Name}: {c.Architecture} ({c.ModelType}), quantization: {c.QuantizationMethod}"));
        streams.Output.WriteLine($"{c.LayerCount} layers ({c.FirstDenseLayers} dense), hidden {c.HiddenSize}, {c.HeadCount} heads (q_lora {c.QueryLoraRank}, kv_lora {c.KeyValueLoraRank}, nope {c.NopeHeadSize}, rope {c.RopeHeadSize}, v {c.ValueHeadSize})");
        streams.Output.WriteLine($"{c.RoutedExpertCount} routed experts of width {c.MoeIntermediateSize}, {c.ExpertsPerToken} per token, {c.SharedExpertCount} shared; vocabulary {c.VocabularySize}, context {c.MaxPositions}");
        streams.Output.WriteLine($"{Count(summary.Parameters)} parameters, {Count(summary.ActiveParameters)} active per token");
        streams.Output.WriteLine();
        TextTable.Write(
            streams,
            ["component", ">parameters", ">bytes", ">bytes per token", "stored as"],
            summary.Components
                .Select(s => new[] { s.Component.ToString(), Count(s.Parameters), Bytes(s.Bytes), Bytes(s.BytesPerToken), string.Join(", ", s.Formats) })
                .Append(["in all", Count(summary.Parameters), Bytes(summary.Bytes), Bytes(summary.BytesPerToken), ""]));
        streams.Output.WriteLine();
        long experts = summary.Components.Where(s => s.Component == Component.RoutedExperts).Sum(s => s.Bytes);
        streams.Output.WriteLine($"Memory: the weights stay in the files' mappings; all in memory they take {Bytes(summary.Bytes)}, {Bytes(summary.Bytes - experts)} of it for what every token needs.");
        streams.Output.WriteLine($"The cache takes {Bytes(1024 * summary.CacheBytesPerToken)} for 1,024 tokens (BF16), {Bytes(c.MaxPositions * summary.CacheBytesPerToken)} for the whole context.");
        streams.Output.WriteLine($"Bound of decoding on the CPU: {Bytes(summary.BytesPerToken)} a token; at 50 GB/s of memory bandwidth {50e9 / summary.BytesPerToken:F1} tokens/s, at 400 GB/s {400e9 / summary.BytesPerToken:F1}.");
        streams.Output.WriteLine(Fit(ProcessMemory.Now(), summary.Bytes, experts));
    }

    /// <summary>Whether weights fit into memory, as a first answer; how fast they are where they do not takes a plan.</summary>
    /// <param name="memory">What there is.</param>
    /// <param name="bytes">Of all weights.</param>
    /// <param name="experts">Of the routed experts among them.</param>
    internal static string Fit(ProcessMemory memory, long bytes, long experts)
    {
        string place = memory.Limit is { } limit ? $"Within the limit of {limit}" : "On this machine";
        string verdict = memory.AvailableBytes > bytes ? "all weights fit."
            : memory.AvailableBytes > bytes - experts ? "the experts do not all fit, so those that are missing come from the drive in every step; `kimi plan` says how fast that is."
            : "what every token needs does not fit; `kimi plan` says what helps.";
        return $"{place} {Bytes(memory.AvailableBytes)} of {Bytes(memory.TotalBytes)} of memory are available: {verdict}";
    }

    private static string ToJson(Checkpoint checkpoint, CheckpointSummary summary) => JsonText.Write(json =>
    {
        KimiConfig c = checkpoint.Config;
        json.WriteString("name", checkpoint.Name);
        json.WriteString("architecture", c.Architecture);
        json.WriteString("model_type", c.ModelType);
        json.WriteString("quantization", c.QuantizationMethod);
        json.WriteNumber("layers", c.LayerCount);
        json.WriteNumber("hidden_size", c.HiddenSize);
        json.WriteNumber("routed_experts", c.RoutedExpertCount);
        json.WriteNumber("experts_per_token", c.ExpertsPerToken);
        json.WriteNumber("vocabulary_size", c.VocabularySize);
        json.WriteNumber("context_length", c.MaxPositions);
        json.WriteNumber("parameters", summary.Parameters);
        json.WriteNumber("active_parameters", summary.ActiveParameters);
        json.WriteNumber("bytes", summary.Bytes);
        json.WriteNumber("bytes_per_token", summary.BytesPerToken);
        json.WriteNumber("cache_bytes_per_token", summary.CacheBytesPerToken);
        json.WriteStartArray("components");
        foreach (ComponentSummary component in summary.Components)
        {
            json.WriteStartObject();
            json.WriteString("component", component.Component.ToString());
            json.WriteNumber("parameters", component.Parameters);
            json.WriteNumber("bytes", component.Bytes);
            json.WriteNumber("bytes_per_token", component.BytesPerToken);
            json.WriteString("formats", string.Join(", ", component.Formats));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    private static string Count(long value) => value switch
    {
        >= 1_000_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{value / 1e12:F2} T"),
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{value / 1e9:F2} B"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{value / 1e6:F2} M"),
        _ => value.ToString("N0", CultureInfo.InvariantCulture),
    };

    internal static string Bytes(long value) => value switch
    {
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{value / 1e9:F2} GB"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{value / 1e6:F2} MB"),
        >= 1_000 => string.Create(CultureInfo.InvariantCulture, $"{value / 1e3:F1} kB"),
        _ => $"{value} B",
    };
}
