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
        (string Name, int Row)? place = First(forward, job) is { } first ? Source(forward, job, first)
            : !logits.IsEmpty && !RowMath.IsFinite(CpuFeatures.Best, logits) ? ("the output head", job.StepRows - 1)
            : null;
        return place is { } there
            ? new KimiException($"A NaN or an infinity appeared in {there.Name} at position {job.Sequence!.Length + there.Row}, so the logits are no numbers. The weights may be damaged: run `kimi verify`.")
            : null;
    }

    /// <summary>What a token brings with it is seen behind the first layer only, whose attention takes some rows together and so may spread it to rows before it.</summary>
    private static (string Name, int Row) Source(ForwardPass forward, GenerationJob job, (int Layer, int Row) first)
    {
        ReadOnlySpan<int> tokens = job.StepTokens;
        var embedding = new float[forward.Shape.HiddenSize];
        for (int row = 0; first.Layer == 0 && row < tokens.Length; row++)
        {
            WeightDecoder.DecodeRow(forward.Embedding, tokens[row], embedding);
            if (!RowMath.IsFinite(CpuFeatures.Best, embedding))
            {
                return ($"the embedding of token {tokens[row]}", row);
            }
        }

        return ($"layer {first.Layer}", first.Row);
    }

    /// <summary>The first layer that put one into any of the job's rows, and the first of those, counted from the job's first: from there it reaches the rows behind, in later layers, and the logits.</summary>
    private static (int Layer, int Row)? First(ForwardPass forward, GenerationJob job)
    {
        (int Layer, int Row)? first = null;
        for (int row = 0; row < job.StepRows; row++)
        {
            int layer = forward.NonFiniteLayer(job.StepFirstRow + row);
            first = layer >= 0 && !(layer >= first?.Layer) ? (layer, row) : first;
        }

        return first;
    }
}
