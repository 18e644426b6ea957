// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Bench;

/// <summary>What <c>kimi bench --kernels</c> shows: a table, JSON, a chart.</summary>
internal static class RooflineReport
{
    public static void Run(int? threads, bool json, string? chartFile, CliStreams streams, CancellationToken cancellationToken)
    {
        using var bench = new RooflineBench(threads);
        double barrier = bench.Barrier();
        List<RooflineResult> results = [.. bench.Measure(cancellationToken)];
        if (json)
        {
            streams.Output.WriteLine(ToJson(bench.Threads, barrier, results));
        }
        else
        {
            string together = bench.Threads > 1 ? $", {Number(barrier * 1e6, "F1")} us for a run beside its work" : "";
            streams.Output.WriteLine($"kernels, {bench.Threads} threads, {CpuFeatures.Description}{together}");
            TextTable.Write(
                streams,
                ["kernel", ">ms", ">MB read", ">GB/s", ">of memory", ">GOP/s", ">of arithmetic", "bound by", ">share"],
                results.Select(Row));
        }

        if (chartFile is not null)
        {
            OutputFile.WriteText("--chart", chartFile, RooflineChart.Draw($"{bench.Threads} threads, {CpuFeatures.Description}", results));
        }
    }

    private static string[] Row(RooflineResult r) =>
    [
        r.Kernel,
        Number(r.Seconds * 1e3, "F2"),
        Number(r.Bytes / 1e6, "F1"),
        Number(r.BytesPerSecond / 1e9, "F1"),
        Number(r.BandwidthShare, "F2"),
        Number(r.OperationsPerSecond / 1e9, "F0"),
        Number(r.ArithmeticShare, "F2"),
        r.IsMemoryBound ? "memory" : "arithmetic",
        Number(r.Share, "F2"),
    ];

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    private static string ToJson(int threads, double barrier, List<RooflineResult> results) => JsonText.Write(json =>
    {
        json.WriteString("subject", "kernels");
        json.WriteNumber("threads", threads);
        json.WriteString("cpu", CpuFeatures.Description);
        json.WriteNumber("barrier_seconds", barrier);
        json.WriteStartArray("results");
        foreach (RooflineResult result in results)
        {
            json.WriteStartObject();
            json.WriteString("kernel", result.Kernel);
            json.WriteNumber("seconds", result.Seconds);
            json.WriteNumber("bytes", result.Bytes);
            json.WriteNumber("operations", result.Operations);
            json.WriteNumber("memory_bytes_per_second", result.Bandwidth);
            json.WriteNumber("arithmetic_operations_per_second", result.Arithmetic);
            json.WriteString("bound_by", result.IsMemoryBound ? "memory" : "arithmetic");
            json.WriteNumber("share", result.Share);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
