// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>Looks for NaNs and infinities in a call's part of a step.</summary>
internal static class NonFiniteCheck
{
    /// <param name="forward">Has run the step.</param>
    /// <param name="job">Part of it.</param>
    /// <param name="logits">Of the job; empty where it has none.</param>
    /// <returns>An error that says where the first one appeared; null where all is finite.</returns>
    public static KimiException? Of(ForwardPass forward, GenerationJob job, ReadOnlySpan<float> logits)
    {
        string? place = FirstLayer(forward, job) is { } layer ? $"layer {layer}"
            : !logits.IsEmpty && !RowMath.IsFinite(CpuFeatures.Best, logits) ? "the output head"
            : null;
        return place is null
            ? null
            : new KimiException($"A NaN or an infinity appeared in {place} at position {job.Sequence!.Length + job.StepRows - 1}, so the logits are no numbers. The weights may be damaged: run `kimi verify`.");
    }

    /// <summary>The first layer that put one into any of the job's rows; from there it reaches the logits.</summary>
    private static int? FirstLayer(ForwardPass forward, GenerationJob job)
    {
        int? first = null;
        for (int row = job.StepFirstRow; row < job.StepFirstRow + job.StepRows; row++)
        {
            int layer = forward.NonFiniteLayer(row);
            first = layer >= 0 && !(layer >= first) ? layer : first;
        }

        return first;
    }
}
