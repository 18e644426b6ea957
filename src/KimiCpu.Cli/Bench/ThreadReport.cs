// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Model;

namespace KimiCpu.Cli.Bench;

/// <summary>What <c>kimi bench --tune</c> shows: decoding with several thread counts, and which one is chosen. Nothing is remembered.</summary>
internal static class ThreadReport
{
    public static void Run(string folder, string subject, CpuBackendOptions options, bool json, CliStreams streams, CancellationToken cancellationToken)
    {
        using var model = new OpenedModel(folder, options);
        var cache = new KvCache(model.HotPath, long.MaxValue, model.Weights.Shape.MaxPositions);
        var timer = new DecodeTimer(model.Forward, cache, ThreadTuning.Limit, cancellationToken.ThrowIfCancellationRequested);
        ThreadChoice choice = ThreadTuning.Find(model.Pool, timer, () => { });
        if (json)
        {
            streams.Output.WriteLine(ToJson(subject, choice));
            return;
        }

        streams.Output.WriteLine($"{subject}, {CpuFeatures.Description}, {model.Pool.NodeCount} NUMA node(s): {choice.Threads} threads");
        TextTable.Write(
            streams,
            [">threads", ">decode per second", "chosen"],
            choice.Timings.Select(t => new[] { t.Threads.ToString(CultureInfo.InvariantCulture), (1 / t.Seconds).ToString("F1", CultureInfo.InvariantCulture), t.Threads == choice.Threads ? "yes" : "" }));
    }

    private static string ToJson(string subject, ThreadChoice choice) => JsonText.Write(json =>
    {
        json.WriteString("subject", subject);
        json.WriteString("cpu", CpuFeatures.Description);
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
