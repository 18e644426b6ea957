// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Weights;

/// <summary>What a part of the weights that every token needs takes of main memory.</summary>
/// <param name="Component">Which part.</param>
/// <param name="Bytes">Copies in 8 bits included.</param>
/// <param name="IsCopied">Whether there are copies in place of what is stored.</param>
internal readonly record struct HotPathPart(ComponentSummary Component, double Bytes, bool IsCopied);

/// <summary>What the weights that every token needs take of main memory, from headers alone.</summary>
internal static class HotPathMemory
{
    /// <summary>Bits of a weight and its part of a scale in 8-bit copies (<see cref="KimiModelOptions.Int8HotPath"/>).</summary>
    private const double CopyBits = 8.5;

    /// <param name="summary">Of the checkpoint.</param>
    /// <param name="config">Its shape.</param>
    /// <param name="int8HotPath">Whether weights are copied to 8 bits.</param>
    /// <param name="onGpu">Whether all but the embedding is on a GPU.</param>
    public static IEnumerable<HotPathPart> Parts(CheckpointSummary summary, KimiConfig config, bool int8HotPath, bool onGpu)
    {
        foreach (ComponentSummary component in summary.Components.Where(c => c.Component != Component.RoutedExperts && (!onGpu || c.Component == Component.Embedding)))
        {
            double copied = int8HotPath ? component.Parameters * CopiedShare(config, component) : 0;
            double stored = component.Bytes * (1 - (copied / component.Parameters));
            double head = component.Component == Component.Embedding && config.TieEmbeddings && int8HotPath && !onGpu ? component.Parameters : 0;
            yield return new HotPathPart(component, stored + ((copied + head) * CopyBits / 8), copied > 0);
        }
    }

    /// <summary>Weights that have a place in memory from the opening on, if experts come from a drive, and let go of it when they are copied or on the GPU: no memory is theirs then, but the system may go on promising it.</summary>
    /// <param name="summary">Of the checkpoint.</param>
    /// <param name="config">Its shape.</param>
    /// <param name="int8HotPath">Whether weights are copied to 8 bits.</param>
    /// <param name="onGpu">Whether all but the embedding is on a GPU.</param>
    public static double LetGo(CheckpointSummary summary, KimiConfig config, bool int8HotPath, bool onGpu) =>
        summary.Components.Where(c => c.Component != Component.RoutedExperts)
            .Sum(c => onGpu ? (c.Component == Component.Embedding ? 0 : c.Bytes) : int8HotPath ? c.Bytes * CopiedShare(config, c) : 0);

    /// <summary>Whether copies in 8 bits would make main memory go further, where no GPU has the weights: they must be smaller, and by more than what the system goes on promising to what they replace.</summary>
    /// <param name="summary">Of the checkpoint.</param>
    /// <param name="config">Its shape.</param>
    /// <param name="promisableBeyond">What the system would promise beyond the memory that the process may take; infinite where it promises whatever is asked for.</param>
    public static bool CopiesHelp(CheckpointSummary summary, KimiConfig config, double promisableBeyond)
    {
        double saved = Bytes(int8HotPath: false) - Bytes(int8HotPath: true);
        return saved > Math.Max(0, LetGo(summary, config, int8HotPath: true, onGpu: false) - promisableBeyond);

        double Bytes(bool int8HotPath) => Parts(summary, config, int8HotPath, onGpu: false).Sum(p => p.Bytes);
    }

    /// <summary>What is copied to 8 bits: the head and all linear layers but the router, the expansion of keys and values, and what is stored in 4 bits.</summary>
    private static double CopiedShare(KimiConfig config, ComponentSummary component)
    {
        if (component.Formats.Contains(CheckpointSummary.Int4Group32))
        {
            return 0;
        }

        if (component.Component != Component.Attention)
        {
            return component.Component is Component.Head or Component.DenseMlp or Component.SharedExperts ? 1 : 0;
        }

        double expansion = (double)config.HeadCount * (config.NopeHeadSize + config.ValueHeadSize) * config.KeyValueLoraRank;
        double all = ModelTensors.Of(config).Where(t => t.Component == Component.Attention).Sum(t => (double)t.Parameters);
        return 1 - (expansion * config.LayerCount / all);
    }
}
