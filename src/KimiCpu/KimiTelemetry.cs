// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace KimiCpu;

/// <summary>
/// Names of what the library tells to OpenTelemetry and other listeners of System.Diagnostics. Nothing is collected unless
/// the application listens, and nothing leaves the process by itself.
/// </summary>
/// <remarks>
/// The meter has, with the attributes <c>gen_ai.operation.name</c> (<c>chat</c>, or <c>text_completion</c> for token ids),
/// <c>gen_ai.provider.name</c> and <c>gen_ai.request.model</c>:
/// <list type="bullet">
/// <item><c>gen_ai.server.request.duration</c>, histogram in s, of all calls; <c>error.type</c> where one failed or was cancelled.</item>
/// <item><c>gen_ai.server.time_to_first_token</c>, histogram in s, from the call to its first token.</item>
/// <item><c>gen_ai.server.time_per_output_token</c>, histogram in s, of the tokens after the first one.</item>
/// <item><c>kimicpu.requests.active</c>, up-down counter of {request}: waiting and running calls.</item>
/// <item><c>kimicpu.request.queue_time</c>, histogram in s, from the call to the first step that worked on it.</item>
/// <item><c>kimicpu.prompt.tokens</c>, counter of {token} that were computed, and with <c>kimicpu.cached</c> true of those that were found in the cache.</item>
/// <item><c>kimicpu.completion.tokens</c>, counter of {token}, with <c>kimicpu.reasoning</c> true for those of the reasoning.</item>
/// <item><c>kimicpu.prefill.rate</c> and <c>kimicpu.decode.rate</c>, histograms in {token}/s.</item>
/// <item><c>kimicpu.decode.bandwidth</c>, histogram in GBy/s: what decoding read from memory.</item>
/// <item><c>kimicpu.step.duration</c>, histogram in s, of the model's steps; <c>kimicpu.step.prompts</c> says whether one took in prompt tokens.</item>
/// <item><c>kimicpu.expert_cache.lookups</c>, counter of {expert} that steps needed, with <c>kimicpu.expert_cache.result</c> <c>hit</c> (in memory), <c>late</c> (already being
/// read) or <c>miss</c>; an expert that several tokens of a step need counts once, one that a GPU holds not at all.</item>
/// <item><c>kimicpu.drive.io</c>, counter in By: experts read from drives during steps, those of look-ahead included.</item>
/// <item><c>kimicpu.requests.running</c> and <c>kimicpu.requests.waiting</c>, observed, of {request}: see <see cref="KimiModelActivity"/>.</item>
/// <item><c>kimicpu.cache.pages</c>, observed, of {page}, with <c>kimicpu.cache.state</c> <c>used</c>, <c>reusable</c> or <c>free</c>.</item>
/// </list>
/// Tokens are those of all calls, also of those that have failed or were cancelled. The last five lines have the attribute <c>gen_ai.request.model</c> alone, and
/// of models with one name they tell what all of them do together. Those of the expert cache and of drives are silent where all experts are in memory.
/// The activity source has one activity for each call, <c>generate MODEL</c>, with the same numbers as tags and an event
/// <c>first_token</c>. No text of prompts or answers is in any of them. What a listener throws is ignored.
/// </remarks>
public static class KimiTelemetry
{
    /// <summary>Name of the <see cref="Meter"/>, for <c>AddMeter</c>.</summary>
    public const string MeterName = "KimiCpu";

    /// <summary>Name of the <see cref="ActivitySource"/>, for <c>AddSource</c>.</summary>
    public const string ActivitySourceName = "KimiCpu";

    /// <summary>Boundaries in seconds: those of the GenAI conventions, and beyond them what a model takes that is larger than memory.</summary>
    private static readonly double[] s_durations = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36, 1310.72, 2621.44, 5242.88, 10_485.76];
    private static readonly double[] s_tokenTimes = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10];
    private static readonly double[] s_steps = [.. s_tokenTimes, 30, 60, 120];
    private static readonly double[] s_firstTokens = [.. s_tokenTimes[..^1], 7.5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600];
    private static readonly double[] s_rates = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
    private static readonly double[] s_bandwidths = [1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 1600];
    private static readonly string s_version = typeof(KimiTelemetry).Assembly.GetName().Version!.ToString(3);
    private static readonly Meter s_meter = new(MeterName, s_version);

    internal static ActivitySource Source { get; } = new(ActivitySourceName, s_version);

    internal static Histogram<double> Duration { get; } = Histogram("gen_ai.server.request.duration", "s", "Time of a call, waiting included.", s_durations);

    internal static Histogram<double> TimeToFirstToken { get; } = Histogram("gen_ai.server.time_to_first_token", "s", "Time from a call to its first token.", s_firstTokens);

    internal static Histogram<double> TimePerOutputToken { get; } = Histogram("gen_ai.server.time_per_output_token", "s", "Time of a token after the first one.", s_tokenTimes);

    internal static UpDownCounter<long> Active { get; } = s_meter.CreateUpDownCounter<long>("kimicpu.requests.active", "{request}", "Calls that wait or run.");

    internal static Histogram<double> QueueTime { get; } = Histogram("kimicpu.request.queue_time", "s", "Time from a call to the first step that worked on it.", s_durations);

    internal static Counter<long> PromptTokens { get; } = s_meter.CreateCounter<long>("kimicpu.prompt.tokens", "{token}", "Tokens of prompts, computed or found in the cache.");

    internal static Counter<long> CompletionTokens { get; } = s_meter.CreateCounter<long>("kimicpu.completion.tokens", "{token}", "Generated tokens.");

    internal static Histogram<double> PrefillRate { get; } = Histogram("kimicpu.prefill.rate", "{token}/s", "Prompt tokens computed per second.", s_rates);

    internal static Histogram<double> DecodeRate { get; } = Histogram("kimicpu.decode.rate", "{token}/s", "Tokens generated per second after the first one.", s_rates);

    internal static Histogram<double> DecodeBandwidth { get; } = Histogram("kimicpu.decode.bandwidth", "GBy/s", "Bytes read from memory while decoding.", s_bandwidths);

    internal static Histogram<double> StepDuration { get; } = Histogram("kimicpu.step.duration", "s", "Time of a step of the model.", s_steps);

    internal static Counter<long> ExpertLookups { get; } = s_meter.CreateCounter<long>("kimicpu.expert_cache.lookups", "{expert}", "Experts that steps needed, by where they were found.");

    internal static Counter<long> DriveBytes { get; } = s_meter.CreateCounter<long>("kimicpu.drive.io", "By", "Bytes of experts read from drives during steps.");

    /// <summary>Says what open models do, for as long as they are observed.</summary>
    internal static ModelMeters Models { get; } = new(s_meter);

    private static Histogram<double> Histogram(string name, string unit, string description, double[] boundaries) =>
        s_meter.CreateHistogram(name, unit, description, tags: null, new InstrumentAdvice<double> { HistogramBucketBoundaries = boundaries });
}
