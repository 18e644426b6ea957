// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.Hashing;
using System.Text;
using KimiCpu.Checkpoints;

namespace KimiCpu.Sessions;

/// <summary>
/// Tells models apart whose caches must not be mixed, without reading their weights: a hash of the configuration's numbers,
/// of every tensor's name, type and shape, and of <see cref="SampleBytes"/> bytes from the middle of each tensor that every
/// token needs and of some routed experts. All of it is of the files that are open, and stays the same where others take their places.
/// It stands in saved sessions and in the names of files about experts, so nothing that is hashed is ever spelled in another way: all of them would be
/// those of another model.
/// </summary>
internal static class ModelIdentity
{
    private const int SampleBytes = 64;
    private const int SampledExpertTensors = 256;

    public static UInt128 Of(Checkpoint checkpoint)
    {
        KeyValuePair<string, TensorEntry>[] tensors = [.. checkpoint.Tensors.OrderBy(t => t.Key, StringComparer.Ordinal)];
        var hash = new XxHash128();
        hash.Append(Encoding.UTF8.GetBytes(Numbers(checkpoint.Config)));
        foreach ((string name, TensorEntry tensor) in tensors)
        {
            hash.Append(Encoding.UTF8.GetBytes($"{name} {Spelled(tensor)}\n"));
        }

        TensorEntry[] experts = [.. tensors.Select(t => t.Value).Where(t => t.IsRoutedExpert)];
        int stride = Math.Max(1, experts.Length / SampledExpertTensors);
        foreach (TensorEntry tensor in tensors.Select(t => t.Value).Where(t => !t.IsRoutedExpert).Concat(experts.Where((_, i) => i % stride == 0)))
        {
            int length = (int)Math.Min(SampleBytes, tensor.Length);
            hash.Append(checkpoint.ReadOpen(tensor.Shard, tensor.Offset + ((tensor.Length - length) / 2), length));
        }

        return hash.GetCurrentHashAsUInt128();
    }

    /// <summary>All that the cached values depend on beside the weights.</summary>
    internal static string Numbers(KimiConfig config) => FormattableString.Invariant(
        $"""
        {config.HiddenSize} {config.LayerCount} {config.VocabularySize} {config.HeadCount} {config.QueryLoraRank} {config.KeyValueLoraRank}
        {config.NopeHeadSize} {config.RopeHeadSize} {config.ValueHeadSize} {config.IntermediateSize} {config.MoeIntermediateSize}
        {config.RoutedExpertCount} {config.SharedExpertCount} {config.ExpertsPerToken} {config.ExpertGroupCount} {config.ExpertGroupsPerToken}
        {config.FirstDenseLayers} {config.MoeLayerFrequency} {config.NormalizeExpertWeights} {config.RoutedScalingFactor:R} {config.NormEpsilon:R} {config.RopeTheta:R}
        {Numbers(config.RopeScaling)} {config.Float8BlockRows} {config.Float8BlockColumns}
        """);

    /// <summary>The type as headers of safetensors have it, and the shape. Messages may have other words for it.</summary>
    private static string Spelled(TensorEntry tensor) => $"{tensor.Type.Name()} [{string.Join(", ", tensor.Shape)}]";

    private static string Numbers(YarnConfig? yarn) => yarn is null
        ? "none"
        : FormattableString.Invariant($"{yarn.Factor:R} {yarn.OriginalMaxPositions:R} {yarn.BetaFast:R} {yarn.BetaSlow:R} {yarn.MScale:R} {yarn.MScaleAllDim:R}");
}
