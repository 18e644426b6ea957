// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using KimiCpu.Cli.Routing;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi simulate</c>.</summary>
internal static class SimulateCommand
{
    private static readonly double[] s_defaultShares = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

    public static Command Make(CliStreams streams)
    {
        var file = new Argument<string>("TRACE") { Description = "What `kimi trace` recorded." };
        var slots = new Option<string?>("--slots") { Description = "Cache sizes in experts, separated by commas. Default: shares of 5 to 90 % of all experts.", HelpName = "N,…" };
        var memory = new Option<string?>("--memory") { Description = "Cache sizes in bytes, separated by commas, such as 64GB,180GB.", HelpName = "SIZE,…" };
        var policy = new Option<string>("--policy")
        {
            Description = $"Policies, separated by commas: {string.Join(", ", EvictionPolicies.Names)}; a half-life in steps may follow a colon, as in lfu:200.",
            HelpName = "NAME,…",
            DefaultValueFactory = _ => string.Join(',', EvictionPolicies.Names),
        };
        var lookAhead = new Option<bool>("--look-ahead") { Description = "Begin reading what the trace predicts for the next layer." };
        var warmup = new Option<int>("--warmup") { Description = "Forward passes at the beginning that fill the cache and are not counted.", HelpName = "N" };
        var json = new Option<bool>("--json") { Description = "One JSON object, with the skew of every layer." };
        var chart = new Option<string?>("--chart") { Description = "Draw the hit rates to this file, as SVG.", HelpName = "FILE" };
        var command = new Command("simulate", "Replays a routing trace against caches of any size and policy, and prints how often experts are there.")
        {
            file, slots, memory, policy, lookAhead, warmup, json, chart,
        };
        command.SetLongAction((parsed, cancellationToken) =>
        {
            string[] policies = Split(policy.Name, parsed.GetValue(policy)!);
            Array.ForEach(policies, p => _ = EvictionPolicies.Make(p, layers: 1, expertsPerLayer: 1));
            if (parsed.GetValue(chart) is { } place)
            {
                OutputFile.CheckPlace(chart.Name, place);
            }

            RoutingTrace trace = InputFile.Read(file.Name, parsed.GetValue(file)!, streams, RoutingTrace.Read, bytes => RoutingTrace.Read(new MemoryStream(bytes), "standard input"));
            int[] sizes = Sizes(trace.Header, parsed.GetValue(slots), parsed.GetValue(memory));
            if (parsed.GetValue(lookAhead) && !trace.Header.HasPredictions)
            {
                throw new ArgumentException("--look-ahead needs a trace with predictions; this one has none. Record one from a model, or with --recall.");
            }

            var accesses = new TraceAccesses(trace, parsed.GetValue(warmup));
            List<SimulationResult> results = [];
            foreach (string name in policies)
            {
                results.AddRange(sizes.Select(s => CacheSimulation.Run(accesses, s, name, parsed.GetValue(lookAhead), cancellationToken)));
            }

            results.AddRange(sizes.Select(s => BeladyOptimum.Run(accesses, s)));
            SkewFit?[] skews = [.. Enumerable.Range(0, accesses.Layers).Select(l => SkewFit.Of(accesses, l))];
            if (parsed.GetValue(json))
            {
                streams.Output.WriteLine(SimulationReport.ToJson(accesses, skews, results));
            }
            else
            {
                SimulationReport.Write(streams, accesses, skews, results, parsed.GetValue(lookAhead));
            }

            if (parsed.GetValue(chart) is { } chartFile)
            {
                OutputFile.WriteText(chart.Name, chartFile, HitRateChart.Draw($"{trace.Header.ModelName}: {accesses.Tokens} tokens, {accesses.Layers} layers x {trace.Header.ExpertCount} experts, {trace.Header.ExpertsPerToken} a token", results));
            }

            return KimiCommand.Ok;
        });
        return command;
    }

    private static string[] Split(string option, string list) => list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) is { Length: > 0 } parts
        ? parts
        : throw new FormatException($"{option} takes at least one of what it names, several separated by commas; found '{list}'.");

    /// <summary>Rising numbers of slots, at most one for every expert.</summary>
    private static int[] Sizes(RoutingTraceHeader header, string? slots, string? memory)
    {
        IEnumerable<long> wanted = (slots, memory) switch
        {
            (null, null) => s_defaultShares.Select(s => (long)Math.Max(1, s * header.TotalExperts)),
            (not null, null) => Split("--slots", slots).Select(ReadSlots),
            (null, not null) => Split("--memory", memory).Select(m => SlotsOf(m, header.ExpertBytes)),
            _ => throw new ArgumentException("Sizes come from --slots or from --memory, not from both."),
        };
        return [.. wanted.Select(n => (int)Math.Min(n, header.TotalExperts)).Distinct().Order()];
    }

    private static long ReadSlots(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int slots) && slots > 0
            ? slots
            : throw new FormatException($"--slots takes numbers of experts above 0, separated by commas; found '{text}'.");

    private static long SlotsOf(string text, long expertBytes) => (long)Quantity.Bytes("--memory", text) / expertBytes is > 0 and long slots
        ? slots
        : throw new FormatException($"--memory {text} holds no expert: one has {expertBytes:N0} bytes.");
}
