// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Planning;

/// <summary>How long a prompt takes.</summary>
/// <param name="Tokens">Of the prompt.</param>
/// <param name="Seconds">To its first answer token.</param>
/// <param name="Bound">What most of it is spent on.</param>
/// <param name="Passes">In which the prompt is read.</param>
internal sealed record PromptTime(int Tokens, double Seconds, PlanBound Bound, int Passes)
{
    public double TokensPerSecond => Tokens / Seconds;
}

/// <summary>Time to the first token: passes over the layers, in each of which every expert that is touched is read once.</summary>
internal sealed class PromptModel(PlanSubject subject, PlanMachine machine, Placement placement, SpeedParameters parameters)
{
    /// <summary>Share of the CPU's time alone that streaming must promise to stay below, as in the GPU's MeasuredSplit.</summary>
    private const double WorthStreaming = 0.9;

    private readonly SpeedModel _speed = new(subject, machine, placement, parameters);

    /// <summary>Tokens of a pass.</summary>
    public int Chunk => placement.PrefillChunk;

    public PromptTime Time(int tokens)
    {
        double seconds = 0;
        int passes = 0;
        var bounds = new Dictionary<PlanBound, double>();
        for (int done = 0; done < tokens; passes++)
        {
            int count = Math.Min(Chunk, tokens - done);
            (double passSeconds, PlanBound bound) = Pass(count, done);
            seconds += passSeconds;
            bounds[bound] = bounds.GetValueOrDefault(bound) + passSeconds;
            done += count;
        }

        seconds += HeadSeconds();
        return new PromptTime(tokens, seconds, bounds.MaxBy(p => p.Value).Key, passes);
    }

    private static (double Seconds, PlanBound Bound) Longest(params ReadOnlySpan<(double Seconds, PlanBound Bound)> parts)
    {
        (double Seconds, PlanBound Bound) longest = parts[0];
        foreach ((double Seconds, PlanBound Bound) part in parts[1..])
        {
            longest = part.Seconds > longest.Seconds ? part : longest;
        }

        return longest;
    }

    private (double Seconds, PlanBound Bound) Pass(int count, int before)
    {
        double touched = subject.DistinctExperts(count) * subject.ExpertBytes * subject.MoeLayers;
        double missing = touched * (1 - placement.ResidentShare);
        double drive = missing == 0 ? 0 : machine.SecondsToRead(missing) / parameters.DriveEfficiency;
        (double hotSeconds, PlanBound hotBound) = HotPath(count, before);
        (double expertSeconds, PlanBound expertBound) = Experts(count, touched, missing);
        double busy = hotSeconds + expertSeconds + (subject.Config.LayerCount * parameters.SecondsPerLayer);

        // Which experts are next is no question here: nearly all are. So reading hides behind computing or the other way round.
        return Longest((drive, PlanBound.Drive), (busy, hotSeconds > expertSeconds ? hotBound : expertBound));
    }

    /// <summary>All but the routed experts, on the GPU where there is one.</summary>
    private (double Seconds, PlanBound Bound) HotPath(int count, int before)
    {
        double pairs = ((double)count * before) + (0.5 * count * (count + 1.0));
        int fewestExpanded = placement.UsesGpu ? subject.FewestExpandedTokensOfGpu : subject.FewestExpandedTokensOfCpu;

        // The new tokens' own keys and values are part of the weights' operations.
        (double ofPair, double expanding) = count < fewestExpanded ? (subject.AttentionOperationsPerContextToken, 0) : subject.ExpandedAttentionOperations;
        double attention = (ofPair * pairs) + (expanding * before);
        if (placement.UsesGpu)
        {
            double operations = (subject.HotOperations * count) + attention;
            double reading = placement.HotBytesIn(PlanPlace.Gpu) / (machine.Gpu!.BytesPerSecond.Value * parameters.GpuMemoryEfficiency);
            return (Math.Max(operations / parameters.GpuOperationsPerSecond, reading), PlanBound.Gpu);
        }

        double read = _speed.MemorySeconds(placement.HotBytesIn(PlanPlace.Memory), 0);
        double computed = (subject.HotOperations * count / Rate(IsHotPathInt8() ? machine.ByteOperationsFactor : machine.BFloat16OperationsFactor)) + _speed.AttentionSeconds(attention);
        return Together(read, computed);
    }

    /// <summary>The routed experts: on the CPU, and some of them streamed to the GPU beside it, so that both end together.</summary>
    private (double Seconds, PlanBound Bound) Experts(int count, double touched, double missing)
    {
        (double Seconds, PlanBound Bound) cpu = Together(
            _speed.MemorySeconds(touched, missing),
            subject.RoutedOperations * count / Rate(machine.ByteOperationsFactor));
        if (!placement.GpuHasRing)
        {
            return cpu;
        }

        double streamed = touched * (1 - placement.GpuShare);
        (double Seconds, PlanBound Bound) gpu = Longest(
            (streamed / machine.Gpu!.LinkBytesPerSecond.Value, PlanBound.GpuLink),
            (subject.RoutedOperations * count / parameters.GpuOperationsPerSecond, PlanBound.Gpu));
        double together = cpu.Seconds * gpu.Seconds / (cpu.Seconds + gpu.Seconds);
        return together > WorthStreaming * cpu.Seconds ? cpu : (together, gpu.Seconds < cpu.Seconds ? gpu.Bound : cpu.Bound);
    }

    private double HeadSeconds() => placement.UsesGpu
        ? placement.Bytes(PlanPlace.Gpu, Component.Head) / (machine.Gpu!.BytesPerSecond.Value * parameters.GpuMemoryEfficiency)
        : _speed.MemorySeconds(placement.Bytes(PlanPlace.Memory, Component.Head), 0);

    private double Rate(double factor) => machine.OperationsPerSecond * factor * parameters.ArithmeticEfficiency;

    private bool IsHotPathInt8() => placement.Parts.Any(p => p is { Component: Component.Attention, Format: "8 bits" });

    /// <summary>
    /// Reading and computing of the same kernel overlap in part: with few tokens an expert, 60 ms were measured where the parts
    /// take 23 and 54, which the root of the sum of squares meets.
    /// </summary>
    private static (double Seconds, PlanBound Bound) Together(double read, double computed) =>
        (Math.Sqrt((read * read) + (computed * computed)), read > computed ? PlanBound.Memory : PlanBound.Compute);
}
