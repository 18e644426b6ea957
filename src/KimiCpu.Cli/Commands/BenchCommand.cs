// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Commands;

/// <summary><c>kimi bench</c>.</summary>
internal static class BenchCommand
{
    public const string Name = "bench";

    public static Command Make(CliStreams streams)
    {
        var shape = new Option<string>("--shape") { Description = $"k2-mini, k2-experts, nano, or sizes such as k2-mini,layers=4 (of {BenchShape.Keys}).", DefaultValueFactory = _ => "k2-mini", HelpName = "SHAPE" };
        var model = new Option<string?>("--model", "-m") { Description = "Measure this checkpoint instead of a synthetic one, its experts where kimi chat would have them with a context of what is measured: in memory, or in slots where they do not fit.", HelpName = "DIR" };
        ModelNames.Refuse(model);
        var threads = WholeNumbers.Threads();
        var prefill = new Option<string>("--prefill") { Description = "Prompt lengths, separated by commas; 0 for none.", DefaultValueFactory = _ => "128,512", HelpName = "N,N" };
        var decode = new Option<int>("--decode") { Description = "Tokens to decode; 0 for none.", DefaultValueFactory = _ => 64, HelpName = "N" }.Within(0);
        var kernels = new Option<bool>("--kernels") { Description = "Each kernel alone at the sizes of Kimi K2, beside the bound that it runs into (takes 5 GB of memory)." };
        var chart = new Option<string?>("--chart") { Description = "With --kernels or --concurrency: also draw the result, as SVG.", HelpName = "FILE" };
        var int8 = new Option<bool>("--int8-hot-path") { Description = "Copy the hot path's weights to 8 bits, as KimiModelOptions.Int8HotPath does." };
        var tune = new Option<bool>("--tune") { Description = "Decode with several thread counts instead, and show which one KimiModelOptions.TuneThreads would choose." };
        var json = new Option<bool>("--json") { Description = "JSON instead of a table." };
        var cache = new Option<string>("--cache") { Description = "Folder for synthetic checkpoints.", DefaultValueFactory = _ => DefaultCache(), HelpName = "DIR" };
        var command = new Command(Name, "Measures prefill and decode, and what share of the memory's read bandwidth (measured around each part) decoding reaches. A synthetic checkpoint is written once.")
        {
            shape, model, threads, int8, prefill, decode, kernels, chart, tune, json, cache,
        };
        var tiered = new TieredOptions();
        tiered.AddTo(command);
        var concurrency = new ConcurrencyOptions();
        concurrency.AddTo(command);
        var gpu = new GpuBenchOptions();
        gpu.AddTo(command);
        Option[] subjects = [shape, model, cache, threads, int8, json];
        var modes = new OptionModes(
            [.. subjects, prefill, decode],
            (kernels, [threads, json, chart]),
            (gpu.Switch, [gpu.Device, json]),
            (concurrency.Switch, [.. subjects, decode, chart, .. concurrency.Others]),
            (tiered.Switch, [.. subjects, decode, .. tiered.Others]),
            (tune, subjects));
        command.SetLongAction(async (parsed, cancellationToken) =>
        {
            modes.Check(parsed);
            if (parsed.GetValue(model) is not null && parsed.GetResult(shape) is { Implicit: false })
            {
                throw new FormatException("--model measures a checkpoint that there is, --shape one that is made up: give one of them.");
            }

            if (parsed.GetValue(model) is not null && parsed.GetResult(cache) is { Implicit: false })
            {
                throw new FormatException("--cache is the folder of checkpoints that are made up, and --model measures one that there is: give one of them.");
            }

            if (parsed.GetValue(chart) is { } place)
            {
                OutputFile.CheckPlace(chart.Name, place);
            }

            // All of it is read before a checkpoint is written, which may take minutes and as much of the drive as a model.
            var options = new CpuBackendOptions { Threads = parsed.GetValue(threads), Int8HotPath = parsed.GetValue(int8) };
            int[] prompts = [.. parsed.GetValue(prefill)!.Split(',').Select(ReadCount).Where(n => n > 0)];
            int[]? together = concurrency.Counts(parsed);
            TieredRuns? inSlots = tiered.Read(parsed, options, parsed.GetValue(decode));
            if (parsed.GetValue(kernels))
            {
                RooflineReport.Run(parsed.GetValue(threads), parsed.GetValue(json), parsed.GetValue(chart), streams, cancellationToken);
                return KimiCommand.Ok;
            }

            if (parsed.GetValue(gpu.Switch))
            {
                gpu.Run(parsed, parsed.GetValue(json), streams, cancellationToken);
                return KimiCommand.Ok;
            }

            if ((together is not null || inSlots is not null) && parsed.GetValue(decode) == 0)
            {
                throw new FormatException("--decode takes 1 or more where answers are measured together or with experts in slots; found 0.");
            }

            if (parsed.GetValue(model) is null && !parsed.GetValue(tune))
            {
                RequireRoom(prompts, together, inSlots?.How, parsed.GetValue(decode));
            }

            string subject = parsed.GetValue(model) ?? parsed.GetValue(shape)!;
            string folder = parsed.GetValue(model) ?? SyntheticCheckpoint.Prepare(BenchShape.Parse(parsed.GetValue(shape)!), parsed.GetValue(cache)!, streams, cancellationToken);
            if (together is not null)
            {
                var how = new KimiModelOptions { Threads = parsed.GetValue(threads), Int8HotPath = parsed.GetValue(int8) };
                await concurrency.Run(parsed, together, subject, folder, how, parsed.GetValue(decode), parsed.GetValue(chart), parsed.GetValue(json), streams, cancellationToken).ConfigureAwait(false);
                return KimiCommand.Ok;
            }

            if (inSlots is not null)
            {
                TieredReport.Run(subject, folder, inSlots, parsed.GetValue(json), streams, cancellationToken);
                return KimiCommand.Ok;
            }

            if (parsed.GetValue(tune))
            {
                ThreadReport.Run(folder, subject, options, parsed.GetValue(json), streams, available: null, cancellationToken);
                return KimiCommand.Ok;
            }

            MeasureModel(folder, subject, options, prompts, parsed.GetValue(decode), parsed.GetValue(json), streams, available: null, cancellationToken);
            return KimiCommand.Ok;
        });
        return command;
    }

    /// <summary>The context of what is made up is known before it is written.</summary>
    /// <exception cref="FormatException">It has no room for the tokens.</exception>
    private static void RequireRoom(int[] prefills, int[]? together, TieredBenchOptions? inSlots, int decoded)
    {
        if (together is not null)
        {
            ConcurrencyBench.RequireRoom(decoded, BenchShape.Context);
        }
        else if (inSlots is not null)
        {
            TieredReport.RequireRoom(inSlots, BenchShape.Context);
        }
        else
        {
            ModelBench.RequireRoom(prefills, decoded, BenchShape.Context);
        }
    }

    /// <param name="folder">Of the checkpoint.</param>
    /// <param name="subject">What is measured, as the user named it.</param>
    /// <param name="options">How the CPU computes.</param>
    /// <param name="prefills">Lengths of prompts.</param>
    /// <param name="decoded">Tokens behind a short one; 0 for none.</param>
    /// <param name="json">In place of a table.</param>
    /// <param name="streams">Where to write.</param>
    /// <param name="available">What the process may take; null for what there is now.</param>
    /// <param name="cancellationToken">Ends it between tokens.</param>
    /// <exception cref="KimiException">The model does not fit.</exception>
    /// <exception cref="FormatException">Its context has no room for the tokens.</exception>
    internal static void MeasureModel(string folder, string subject, CpuBackendOptions options, int[] prefills, int decoded, bool json, CliStreams streams, ProcessMemory? available, CancellationToken cancellationToken)
    {
        using Checkpoint checkpoint = OpenedModel.OpenCheckpoint(folder);
        ModelBench.RequireRoom(prefills, decoded, checkpoint.Config.MaxPositions);
        using var bench = new ModelBench(checkpoint, options, prefills, decoded, available);
        List<BenchResult> results = [.. prefills.Select(n => bench.Prefill(n, cancellationToken))];
        if (decoded > 0)
        {
            results.Add(bench.Decode(decoded, cancellationToken));
        }

        if (json)
        {
            streams.Output.WriteLine(ToJson(subject, bench, results));
        }
        else
        {
            streams.Output.WriteLine($"{subject}, {bench.Threads} threads, {CpuFeatures.Description}, {bench.ExpertPlace}");
            TextTable.Write(streams, ["part", ">per second", ">bytes each", ">GB/s", ">memory GB/s", ">ratio"], results.Select(Row));
        }
    }

    /// <summary>How many experts memory holds where the others come from the drive; null where all are mapped.</summary>
    internal static void WriteSlots(Utf8JsonWriter json, int? slots)
    {
        if (slots is { } count)
        {
            json.WriteNumber("expert_slots", count);
        }
        else
        {
            json.WriteNull("expert_slots");
        }
    }

    private static string[] Row(BenchResult r) =>
    [
        r.Name,
        r.TokensPerSecond.ToString("F1", CultureInfo.InvariantCulture),
        r.BytesPerToken > 0 ? InspectCommand.Bytes((long)r.BytesPerToken) : "",
        r.BytesPerSecond > 0 ? (r.BytesPerSecond / 1e9).ToString("F1", CultureInfo.InvariantCulture) : "",
        (r.Bandwidth / 1e9).ToString("F1", CultureInfo.InvariantCulture),
        r.BytesPerSecond > 0 ? r.Ratio.ToString("F2", CultureInfo.InvariantCulture) : "",
    ];

    private static string ToJson(string subject, ModelBench bench, List<BenchResult> results) => JsonText.Write(json =>
    {
        json.WriteString("subject", subject);
        json.WriteNumber("threads", bench.Threads);
        json.WriteString("cpu", CpuFeatures.Description);
        WriteSlots(json, bench.Store?.Slots);
        json.WriteStartArray("results");
        foreach (BenchResult result in results)
        {
            json.WriteStartObject();
            json.WriteString("part", result.Name);
            json.WriteNumber("per_second", result.TokensPerSecond);
            json.WriteNumber("bytes_each", result.BytesPerToken);
            json.WriteNumber("bytes_per_second", result.BytesPerSecond);
            json.WriteNumber("memory_bytes_per_second", result.Bandwidth);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    private static int ReadCount(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int count)
        ? count
        : throw new FormatException($"--prefill takes counts separated by commas, such as 128,512; found '{text}'.");

    private static string DefaultCache() => Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify) is { Length: > 0 } folder ? folder : Path.GetTempPath(),
        "kimicpu",
        "bench");
}
