// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Generation;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Finds mistakes in the configuration before the model is opened.</summary>
internal sealed class KimiOptionsValidator : IValidateOptions<KimiOptions>
{
    public ValidateOptionsResult Validate(string? name, KimiOptions options)
    {
        List<string> problems = [];
        void Require(bool condition, string option, object? found, string expected)
        {
            if (!condition)
            {
                problems.Add(string.Create(CultureInfo.InvariantCulture, $"{option} takes {expected}; found {found}."));
            }
        }

        if (options.Embedded == !string.IsNullOrWhiteSpace(options.ModelPath))
        {
            problems.Add(options.Embedded
                ? $"ModelPath ('{options.ModelPath}') and Embedded exclude each other."
                : "Set ModelPath to a checkpoint folder as downloaded, or Embedded to true for kimi-nano, the small model that comes with the library.");
        }
        else if (!options.Embedded)
        {
            Require(Directory.Exists(options.ModelPath), nameof(options.ModelPath), $"'{Path.GetFullPath(options.ModelPath!)}', which does not exist", "an existing folder");
        }

        Require(options.Threads is null or >= 1 and <= 1024, nameof(options.Threads), options.Threads, "1 … 1024");
        Require(options.ContextLength is null or >= 1, nameof(options.ContextLength), options.ContextLength, "1 or more");
        Require(options.KvCacheBytes is null or >= 1, nameof(options.KvCacheBytes), options.KvCacheBytes, "1 or more");
        Require(options.PrefillChunk is >= 1 and <= 65536, nameof(options.PrefillChunk), options.PrefillChunk, "1 … 65536");
        SchedulingOptions scheduling = options.Scheduling;
        Require(scheduling.MaxRunning >= 1, "Scheduling:MaxRunning", scheduling.MaxRunning, "1 or more");
        Require(scheduling.MaxWaiting >= 0, "Scheduling:MaxWaiting", scheduling.MaxWaiting, "0 or more");
        Require(scheduling.MaxQueueTime is null || scheduling.MaxQueueTime > TimeSpan.Zero, "Scheduling:MaxQueueTime", scheduling.MaxQueueTime, "a time above zero, or nothing");
        Require(scheduling.MaxCallTime is null || scheduling.MaxCallTime > TimeSpan.Zero, "Scheduling:MaxCallTime", scheduling.MaxCallTime, "a time above zero, or nothing");
        Require(scheduling.MaxTokenGap is null || scheduling.MaxTokenGap > TimeSpan.Zero || scheduling.MaxTokenGap == Timeout.InfiniteTimeSpan, "Scheduling:MaxTokenGap", scheduling.MaxTokenGap, "a time above zero, -00:00:00.001 for no aim, or nothing");
        string which = string.IsNullOrEmpty(name) ? "Kimi" : $"Kimi model '{name}'";
        return problems.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems.Select(p => $"{which}: {p}"));
    }
}
