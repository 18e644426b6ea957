// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>The results of <c>kimi bench --gpu</c> for programs.</summary>
internal static class GpuBenchJson
{
    public static string Write(GpuBenchResult result) => JsonText.Write(json =>
    {
        json.WriteString("subject", "gpu");
        json.WriteString("gpu", result.Gpu);
        json.WriteNumber("read_bytes_per_second", result.ReadBandwidth);
        json.WriteNumber("copy_bytes_per_second", result.CopyBandwidth);
        Array(json, "decode", result.Decode, Kernel);
        Array(json, "prompts", result.Prompts, Kernel);
        json.WriteStartObject("round_trip");
        json.WriteNumber("median_seconds", result.RoundTrip.Median);
        json.WriteNumber("p99_seconds", result.RoundTrip.P99);
        json.WriteNumber("kernel_seconds", result.RoundTrip.Kernels);
        json.WriteNumber("wanted_seconds", GpuRoundTripResult.WantedSeconds);
        json.WriteEndObject();
        if (result.Step is { } step)
        {
            json.WriteStartObject("step");
            json.WriteNumber("layers", step.Layers);
            json.WriteNumber("model_layers", step.AllLayers);
            json.WriteNumber("context_tokens", step.Context);
            json.WriteNumber("bytes", step.Bytes);
            json.WriteNumber("seconds", step.Seconds);
            json.WriteNumber("floor_seconds", step.Floor);
            json.WriteNumber("ratio", step.Ratio);
            json.WriteNumber("wanted_ratio", GpuStepResult.WantedRatio);
            json.WriteNumber("seconds_with_host", step.WithHost);
            json.WriteNumber("memory_bytes_per_second", step.Bandwidth);
            json.WriteEndObject();
        }
        else
        {
            json.WriteNull("step");
        }

        Array(json, "translations", result.Translations, Translation);
    });

    private static void Array<T>(Utf8JsonWriter json, string name, IEnumerable<T> items, Action<Utf8JsonWriter, T> write)
    {
        json.WriteStartArray(name);
        foreach (T item in items)
        {
            json.WriteStartObject();
            write(json, item);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void Kernel(Utf8JsonWriter json, GpuKernelResult kernel)
    {
        json.WriteString("kernel", kernel.Kernel);
        json.WriteNumber("seconds", kernel.Seconds);
        json.WriteNumber("bytes", kernel.Bytes);
        json.WriteNumber("operations", kernel.Operations);
        json.WriteNumber("tensor_operations", kernel.TensorOperations);
        json.WriteNumber("memory_bytes_per_second", kernel.Bandwidth);
        if (kernel.WantedShare is { } wanted)
        {
            json.WriteNumber("share", kernel.Share);
            json.WriteNumber("wanted_share", wanted);
        }
    }

    private static void Translation(Utf8JsonWriter json, GpuTranslation translation)
    {
        json.WriteString("kernel", translation.Kernel);
        json.WriteNumber("threads", translation.Threads);
        json.WriteNumber("registers", translation.Registers);
        json.WriteNumber("local_bytes", translation.LocalBytes);
    }
}
