// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Finds mistakes in the configuration before the model is opened.</summary>
/// <param name="which">Name of the options.</param>
/// <param name="place">What they are called where they are written.</param>
internal sealed class KimiOptionsValidator(string which, string place) : IValidateOptions<KimiOptions>
{
    public ValidateOptionsResult Validate(string? name, KimiOptions options)
    {
        if (name != which)
        {
            return ValidateOptionsResult.Skip;
        }

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
            // Opening tells better what is wrong with what is there, or with a folder that may not be looked at.
            string toDo = KimiModel.RepositoryOf(options.ModelPath!) is { } repository ? $"; models are not downloaded here but by `hf download {repository} --local-dir DIR`" : "";
            Require(!KimiModel.IsMissing(options.ModelPath!), nameof(options.ModelPath), $"'{Path.GetFullPath(options.ModelPath!)}', which does not exist{toDo}", "an existing folder");
        }

        Require(options.Threads is null or >= 1 and <= 1024, nameof(options.Threads), options.Threads, "1 … 1024");
        Require(options.ContextLength is null or >= 1, nameof(options.ContextLength), options.ContextLength, "1 or more");
        Require(options.KvCacheBytes is null or >= 1, nameof(options.KvCacheBytes), options.KvCacheBytes, "1 or more");
        Require(options.GpuExpertBytes is null or >= 0, nameof(options.GpuExpertBytes), options.GpuExpertBytes, "0 or more");
        if (!KimiDevice.TryParse(options.Device, out KimiDevice device))
        {
            problems.Add($"Device takes cpu, auto, cuda or cuda:N; found '{options.Device}'.");
        }
        else if (options.Exact && !device.IsCpu && !device.IsAuto)
        {
            problems.Add($"Exact computes on the CPU; Device is {device}. Leave one of them at its default.");
        }

        Require(options.ExpertMemory is null or >= 1, nameof(options.ExpertMemory), options.ExpertMemory, "1 or more");
        Require(options.PromptCacheBytes >= 1_000_000_000, nameof(options.PromptCacheBytes), options.PromptCacheBytes, "1,000,000,000 or more");
        if (!string.IsNullOrWhiteSpace(options.PromptCacheDirectory) && !options.PrefixCaching)
        {
            problems.Add("PromptCacheDirectory keeps what calls share, and PrefixCaching is false. Leave one of them at its default.");
        }

        Require(options.PrefillChunk is null or >= 1 and <= 65536, nameof(options.PrefillChunk), options.PrefillChunk, "1 … 65536");
        Require(options.MaxRunning >= 1, nameof(options.MaxRunning), options.MaxRunning, "1 or more");
        Require(options.MaxWaiting >= 0, nameof(options.MaxWaiting), options.MaxWaiting, "0 or more");
        Require(options.MaxQueueTime is null || options.MaxQueueTime > TimeSpan.Zero, nameof(options.MaxQueueTime), options.MaxQueueTime, "a time above zero");
        Require(options.MaxCallTime is null || options.MaxCallTime > TimeSpan.Zero, nameof(options.MaxCallTime), options.MaxCallTime, "a time above zero");
        Require(options.MaxTokenGap is null || options.MaxTokenGap > TimeSpan.Zero || options.MaxTokenGap == Timeout.InfiniteTimeSpan, nameof(options.MaxTokenGap), options.MaxTokenGap, "a time above zero, or -00:00:00.001 for no aim");
        return problems.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems.Select(p => $"{place}: {p}"));
    }
}
