// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Model;

namespace KimiCpu.Cli.Bench;

/// <summary>What <c>kimi bench --tune</c> shows: decoding with several thread counts, and which one is chosen. Nothing is remembered.</summary>
internal static class ThreadReport
{
    /// <param name="folder">Of the checkpoint.</param>
    /// <param name="subject">What is measured, as the user named it.</param>
    /// <param name="options">How the CPU computes.</param>
    /// <param name="json">In place of a table.</param>
    /// <param name="streams">Where to write.</param>
    /// <param name="available">What the process may take; null for what there is now.</param>
    /// <param name="cancellationToken">Ends it between tokens.</param>
    /// <exception cref="KimiException">The model does not fit.</exception>
    public static void Run(string folder, string subject, CpuBackendOptions options, bool json, CliStreams streams, ProcessMemory? available, CancellationToken cancellationToken)
    {
        // As the library tunes it: with its experts where they will be.
        using OpenedModel model = OpenedModel.Open(OpenedModel.OpenCheckpoint(folder), options, expertMemory: null, DecodeTimer.MostTokens, ModelMemory.UsualChunk, copiesHelp => copiesHelp ? "--int8-hot-path" : "More memory", available);
        var cache = new KvCache(model.HotPath, long.MaxValue, model.Weights.Shape.MaxPositions);
        var timer = new DecodeTimer(model.Forward, cache, ThreadTuning.Limit, cancellationToken.ThrowIfCancellationRequested);
        ThreadChoice choice = ThreadTuning.Find(model.Pool, timer, () => { });
        if (json)
        {
            streams.Output.WriteLine(ToJson(subject, model.Store?.Slots, choice));
            return;
        }

        streams.Output.WriteLine($"{subject}, {CpuFeatures.Description}, {model.Pool.NodeCount} NUMA node(s), {model.ExpertPlace}: {choice.Threads} threads");
        TextTable.Write(
            streams,
            [">threads", ">decode per second", "chosen"],
            choice.Timings.Select(t => new[] { t.Threads.ToString(CultureInfo.InvariantCulture), (1 / t.Seconds).ToString("F1", CultureInfo.InvariantCulture), t.Threads == choice.Threads ? "yes" : "" }));
    }

    private static string ToJson(string subject, int? slots, ThreadChoice choice) => JsonText.Write(json =>
    {
        json.WriteString("subject", subject);
        json.WriteString("cpu", CpuFeatures.Description);
        BenchCommand.WriteSlots(json, slots);
        json.WriteNumber("threads", choice.Threads);
        json.WriteStartArray("results");
        foreach (ThreadTiming timing in choice.Timings)
        {
            json.WriteStartObject();
            json.WriteNumber("threads", timing.Threads);
            json.WriteNumber("per_second", 1 / timing.Seconds);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
