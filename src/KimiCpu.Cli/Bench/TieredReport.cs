// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Weights;

namespace KimiCpu.Cli.Bench;

/// <summary>Runs the tiered bench over several sizes and says how near each comes to its bound, and how far it is ahead of plain mapping.</summary>
internal static class TieredReport
{
    /// <param name="subject">What is measured, as the user named it.</param>
    /// <param name="folder">Of the checkpoint.</param>
    /// <param name="runs">What is measured of it.</param>
    /// <param name="json">In place of a table.</param>
    /// <param name="streams">Where to write.</param>
    /// <param name="cancellationToken">Ends it between tokens.</param>
    /// <exception cref="FormatException">The model has no experts to hold, or its context no room for the tokens.</exception>
    public static void Run(string subject, string folder, TieredRuns runs, bool json, CliStreams streams, CancellationToken cancellationToken)
    {
        Require(folder, runs.How);
        FileCache.TryDrop(folder);
        long? limit = runs.Limit;
        using MemoryLimit? group = limit is { } bytes ? MemoryLimit.TrySet(bytes) : null;
        string memory = limit is null ? "no limit on memory"
            : group is not null ? $"{InspectCommand.Bytes(limit.Value)} of memory by a control group"
            : "no control group may be made here, so that only the slots are limited and the page cache is not";
        var bench = new TieredBench(folder, runs.How, runs.SlotBytes, cancellationToken);
        var results = new List<TieredResult>();
        using (var progress = new ProgressLine(streams, "Measuring"))
        {
            int count = runs.SlotBytes.Count + (runs.Mapped ? 1 : 0);
            foreach (long size in runs.SlotBytes)
            {
                results.Add(bench.Measure(size, limit ?? size));
                progress.Report("size", results.Count, count);
            }

            if (runs.Mapped)
            {
                group?.DropCache();
                results.Add(bench.Measure(null, limit ?? long.MaxValue));
            }
        }

        double? plain = runs.Mapped ? results[^1].TokensPerSecond : null;
        if (json)
        {
            streams.Output.WriteLine(ToJson(subject, memory, plain, results));
        }
        else
        {
            string drive = results.TrueForAll(r => double.IsFinite(r.Drive)) ? "drive measured around each run" : "files too small to measure the drive";
            streams.Output.WriteLine($"{subject}: {memory}; {drive}");
            TextTable.Write(streams, ["experts in", ">resident", ">tokens/s", ">hits", ">missed/token", ">read/token", ">prompt", ">drive", ">of bound", ">x mapping"], results.Select(r => Row(r, plain)));
        }

        // Last: where it cannot be written after all, what was measured is there.
        if (runs.Timeline is { } timeline && bench.Timeline is { } recorded)
        {
            OutputFile.WriteText("--timeline", timeline, StoreTimelineChart.Draw($"{subject}: experts in {InspectCommand.Bytes(runs.SlotBytes[^1])}, the rest from the drive", recorded, seconds: 3));
        }
    }

    /// <param name="how">What is measured.</param>
    /// <param name="context">Tokens that the model has room for.</param>
    /// <exception cref="FormatException">The context has no room for the tokens.</exception>
    public static void RequireRoom(TieredBenchOptions how, int context)
    {
        long tokens = (long)how.WarmUp + how.Tokens + how.PromptTokens;
        if (tokens > context)
        {
            throw new FormatException(
                $"--warm-up, --decode and --prompt take at most {context} together with this model, whose context that is; found {tokens} ({how.WarmUp}, {how.Tokens} and {how.PromptTokens}).");
        }
    }

    private static void Require(string folder, TieredBenchOptions how)
    {
        using Checkpoint checkpoint = Checkpoint.Open(folder);
        if (CheckpointSummary.Of(checkpoint).Components.All(c => c.Component != Component.RoutedExperts || c.Bytes == 0))
        {
            throw new FormatException($"--expert-memory is memory for routed experts, and '{checkpoint.Name}' has none.");
        }

        RequireRoom(how, WeightLoader.ShapeOf(checkpoint.Config).MaxPositions);
    }

    private static string[] Row(TieredResult r, double? plain) =>
    [
        r.SlotBytes is { } bytes ? InspectCommand.Bytes(bytes) : "mapping",
        Text(r.ResidentShare, "P0"),
        Text(r.TokensPerSecond, "F2"),
        Text(r.HitRate, "F2"),
        Size(r.MissedBytes),
        Size(r.ReadBytes),
        double.IsFinite(r.PromptSeconds) ? $"{Text(r.PromptSeconds, "F1")} s" : "",
        double.IsFinite(r.Drive) ? $"{Size(r.Drive)}/s" : "",
        Text(r.ShareOfBound, "F2"),
        plain is { } p && r.SlotBytes is not null ? Text(r.TokensPerSecond / p, "F1") : "",
    ];

    private static string Text(double value, string format) => double.IsFinite(value) ? value.ToString(format, CultureInfo.InvariantCulture) : "";

    private static string Size(double bytes) => double.IsFinite(bytes) ? InspectCommand.Bytes((long)bytes) : "";

    private static string ToJson(string subject, string memory, double? plain, List<TieredResult> results) => JsonText.Write(json =>
    {
        json.WriteString("subject", subject);
        json.WriteString("memory", memory);
        json.WriteStartArray("results");
        foreach (TieredResult r in results)
        {
            json.WriteStartObject();
            Number("slot_bytes", r.SlotBytes ?? double.NaN);
            Number("resident_share", r.ResidentShare);
            Number("tokens_per_second", r.TokensPerSecond);
            Number("hit_rate", r.HitRate);
            Number("missed_bytes_per_token", r.MissedBytes);
            Number("read_bytes_per_token", r.ReadBytes);
            Number("prompt_seconds", r.PromptSeconds);
            Number("drive_bytes_per_second", r.Drive);
            Number("share_of_bound", r.ShareOfBound);
            Number("times_mapping", r.TokensPerSecond / plain ?? double.NaN);
            json.WriteEndObject();
        }

        json.WriteEndArray();

        void Number(string name, double value)
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
    });
}
