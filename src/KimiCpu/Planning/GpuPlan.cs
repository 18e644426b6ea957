// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Weights;

namespace KimiCpu.Planning;

/// <summary>
/// A way to keep what every token needs in a GPU's memory. The first that fits is taken: weights as stored, then 8 bits
/// for the head, for everything but attention, for everything but the router, and at last for the cache too.
/// </summary>
internal sealed class GpuPlan
{
    /// <summary>Columns that share a scale of two bytes in the GPU's 8-bit forms, of weights and of the cache.</summary>
    private const int Group = 128;

    /// <summary>With steps of <see cref="ModelMemory.UsualChunk"/> tokens and the answers beside them.</summary>
    private const double WorkspaceBytes = 0.25 * (1L << 30);

    private static readonly Component[][] s_reductions =
    [
        [],
        [Component.Head],
        [Component.Head, Component.SharedExperts, Component.DenseMlp],
        [Component.Head, Component.SharedExperts, Component.DenseMlp, Component.Attention],
    ];

    private GpuPlan(List<PlacedPart> parts) => Parts = parts;

    public IReadOnlyList<PlacedPart> Parts { get; }

    public double Bytes => Parts.Sum(p => p.Bytes);

    /// <summary>The first plan within so many bytes; null where none is.</summary>
    /// <param name="subject">The model.</param>
    /// <param name="contextLength">Tokens that the cache is to hold.</param>
    /// <param name="int8HotPath">Whether all weights but the router's are wanted in 8 bits, even where more fits.</param>
    /// <param name="bytes">To fill.</param>
    /// <param name="chunk">Most prompt tokens of a step.</param>
    /// <param name="smallCache">Whether the cache may be reduced.</param>
    public static GpuPlan? Fit(PlanSubject subject, int contextLength, bool int8HotPath, double bytes, int chunk = ModelMemory.UsualChunk, bool smallCache = true) =>
        All(subject, contextLength, chunk).SkipLast(smallCache ? 0 : 1).Skip(int8HotPath ? s_reductions.Length - 1 : 0).FirstOrDefault(p => p.Bytes <= bytes);

    /// <summary>The same with steps that are halved, down to <see cref="ModelMemory.UsualChunk"/>, before the cache is reduced or there is none, as MemoryPlan of KimiCpu.Cuda decides.</summary>
    /// <returns>Null with the smallest steps where there is none.</returns>
    public static (GpuPlan? Plan, int Chunk) FitSteps(PlanSubject subject, int contextLength, bool int8HotPath, double bytes, int most)
    {
        foreach (bool smallCache in new[] { false, true })
        {
            int chunk = most;
            while (true)
            {
                if (Fit(subject, contextLength, int8HotPath, bytes, chunk, smallCache) is { } plan)
                {
                    return (plan, chunk);
                }

                if (chunk == ModelMemory.UsualChunk)
                {
                    break;
                }

                chunk = Math.Max(chunk / 2, ModelMemory.UsualChunk);
            }
        }

        return (null, ModelMemory.UsualChunk);
    }

    /// <summary>The smallest one, for saying what is missing.</summary>
    public static GpuPlan Smallest(PlanSubject subject, int contextLength, int chunk = ModelMemory.UsualChunk) => All(subject, contextLength, chunk).MinBy(p => p.Bytes)!;

    /// <summary>What larger steps take of a GPU's memory beyond those of <see cref="ModelMemory.UsualChunk"/> tokens: the activations that MemoryPlan of KimiCpu.Cuda counts.</summary>
    internal static double LargerStepBytes(PlanSubject subject, int chunk)
    {
        ModelShape shape = WeightLoader.ShapeOf(subject.Config);
        long heads = (long)shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize + shape.ValueHeadSize);
        double ofToken = sizeof(float) * ((2.0 * shape.HiddenSize) + shape.QueryLoraRank + shape.CacheWidth + heads + (3.0 * subject.Config.IntermediateSize) + shape.ExpertCount);
        return ofToken * (chunk - ModelMemory.UsualChunk);
    }

    private static IEnumerable<GpuPlan> All(PlanSubject subject, int contextLength, int chunk) =>
        s_reductions.Select(reduced => Make(subject, contextLength, chunk, reduced, smallCache: false)).Append(Make(subject, contextLength, chunk, s_reductions[^1], smallCache: true));

    private static GpuPlan Make(PlanSubject subject, int contextLength, int chunk, Component[] reduced, bool smallCache)
    {
        List<PlacedPart> parts = [];
        foreach (ComponentSummary component in subject.Summary.Components.Where(c => c.Component is not (Component.RoutedExperts or Component.Embedding)))
        {
            double small = component.Parameters * (1 + (2.0 / Group));
            bool reduce = reduced.Contains(component.Component) && small < component.Bytes;
            parts.Add(new PlacedPart(
                PlacementPlanner.NameOf(component.Component),
                PlanPlace.Gpu,
                reduce ? small : component.Bytes,
                reduce ? "8 bits" : string.Join(", ", component.Formats),
                component.Component));
        }

        double ofToken = smallCache ? SmallCacheBytesPerToken(subject.Config) : subject.Summary.CacheBytesPerToken;
        parts.Add(new PlacedPart("KV cache", PlanPlace.Gpu, contextLength * ofToken, smallCache ? "8 bits" : "BF16", null));
        parts.Add(new PlacedPart("workspace", PlanPlace.Gpu, WorkspaceBytes + LargerStepBytes(subject, chunk), "", null));
        return new GpuPlan(parts);
    }

    /// <summary>Latents in 8 bits with their scales; the rotated keys stay BF16.</summary>
    private static double SmallCacheBytesPerToken(KimiConfig config) =>
        config.LayerCount * (config.KeyValueLoraRank + (2.0 * ((config.KeyValueLoraRank + Group - 1) / Group)) + (2.0 * config.RopeHeadSize));
}
