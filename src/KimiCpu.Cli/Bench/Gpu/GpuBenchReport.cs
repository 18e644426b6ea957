// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>What <c>kimi bench --gpu</c> shows: tables, or JSON.</summary>
internal static class GpuBenchReport
{
    /// <param name="driver">Finds the driver's functions.</param>
    /// <param name="ordinal">Which GPU.</param>
    /// <param name="sizes">What is measured.</param>
    /// <param name="json">In place of tables.</param>
    /// <param name="streams">Where to write.</param>
    /// <param name="cancellationToken">Ends it between kernels.</param>
    /// <exception cref="KimiException">The GPU cannot be used.</exception>
    public static void Run(Func<DriverTable> driver, int ordinal, GpuBenchSizes sizes, bool json, CliStreams streams, CancellationToken cancellationToken)
    {
        GpuBenchResult result;
        try
        {
            using var progress = new ProgressLine(streams, "Measuring");
            result = GpuBench.Run(driver(), ordinal, sizes, progress.Report, cancellationToken);
        }
        catch (CudaException e)
        {
            throw new KimiException(e.Message, e);
        }

        if (json)
        {
            streams.Output.WriteLine(GpuBenchJson.Write(result));
        }
        else
        {
            Write(result, streams);
        }
    }

    private static void Write(GpuBenchResult result, CliStreams streams)
    {
        TextWriter output = streams.Output;
        output.WriteLine(result.Gpu);
        output.WriteLine($"memory: {Rate(result.ReadBandwidth)} GB/s by a kernel that only reads, {Rate(result.CopyBandwidth)} GB/s by a copy (both ways counted); shares are of the former, measured around each kernel");
        output.WriteLine();
        TextTable.Write(streams, ["decoding", ">us", ">MB read", ">GB/s", ">of memory", ">wanted", ""], result.Decode.Select(DecodeRow));
        output.WriteLine();
        TextTable.Write(streams, ["prompts", ">us", ">TFLOP/s", ">on the tensor cores"], result.Prompts.Select(PromptRow));
        output.WriteLine();
        TextTable.Write(streams, ["a layer's round trip, and a whole step", ">measured", ">wanted", ""], Whole(result));
        output.WriteLine();
        TextTable.Write(streams, ["kernel", ">threads", ">registers", ">local bytes", ""], result.Translations.Select(TranslationRow));
    }

    private static string[] DecodeRow(GpuKernelResult r) => r.Bytes == 0 ? [r.Kernel, Microseconds(r.Seconds), "", "", "", "", ""] :
    [
        r.Kernel,
        Microseconds(r.Seconds),
        Number(r.Bytes / 1e6, "F1"),
        Rate(r.BytesPerSecond),
        Number(r.Share, "F2"),
        r.WantedShare is { } wanted ? Number(wanted, "F2") : "",
        Verdict(r.IsReached),
    ];

    private static string[] PromptRow(GpuKernelResult r) =>
        [r.Kernel, Microseconds(r.Seconds), Number(r.Operations / r.Seconds / 1e12, "F1"), Number(r.TensorOperations / r.Seconds / 1e12, "F1")];

    private static IEnumerable<string[]> Whole(GpuBenchResult result)
    {
        GpuRoundTripResult trip = result.RoundTrip;
        yield return ["round trip of a row to the host and back, median", $"{Microseconds(trip.Median)} us", $"{Microseconds(GpuRoundTripResult.WantedSeconds)} us", Verdict(trip.IsReached)];
        yield return ["round trip, 99 of 100 take at most", $"{Microseconds(trip.P99)} us", "", ""];
        yield return ["the two kernels at its ends, taken off above", $"{Microseconds(trip.Kernels)} us", "", ""];
        if (result.Step is not { } step)
        {
            yield return ["step: the free memory does not hold two layers and the head", "", "", ""];
            yield break;
        }

        string layers = step.Layers == step.AllLayers ? $"{step.Layers} layers" : $"{step.Layers} of {step.AllLayers} layers (all that fit)";
        yield return [$"step of 1 row, {layers}, 8-bit weights, {step.Context} tokens of cache", $"{Milliseconds(step.Seconds)} ms", "", ""];
        yield return [$"reading its {Number(step.Bytes / 1e9, "F2")} GB at {Rate(step.Bandwidth)} GB/s", $"{Milliseconds(step.Floor)} ms", "", ""];
        yield return ["step, times that", Number(step.Ratio, "F2"), Number(GpuStepResult.WantedRatio, "F2"), Verdict(step.IsReached)];
        yield return ["step with every layer's round trip, the host answering at once", $"{Milliseconds(step.WithHost)} ms", "", ""];
    }

    private static string[] TranslationRow(GpuTranslation t) =>
    [
        t.Kernel,
        t.Threads.ToString(CultureInfo.InvariantCulture),
        t.Registers.ToString(CultureInfo.InvariantCulture),
        t.LocalBytes.ToString(CultureInfo.InvariantCulture),
        t.LocalBytes == 0 ? "" : "spills: 0 wanted",
    ];

    private static string Verdict(bool reached) => reached ? "reached" : "missed";

    private static string Rate(double bytesPerSecond) => Number(bytesPerSecond / 1e9, "F1");

    private static string Microseconds(double seconds) => Number(seconds * 1e6, "F1");

    private static string Milliseconds(double seconds) => Number(seconds * 1e3, "F2");

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
