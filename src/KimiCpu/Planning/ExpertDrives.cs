// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Planning;

/// <summary>Which drive holds which layer's experts, from a checkpoint's headers.</summary>
internal static class ExpertDrives
{
    private const int MatricesOfExpert = 3;

    /// <param name="checkpoint">Its experts have been found.</param>
    /// <param name="driveOf">The drive of a shard, by its path; null for what the system says.</param>
    /// <returns>For each drive that holds shards the share that it has of each MoE layer's routed experts; nothing where there are none.</returns>
    public static Dictionary<string, double[]> Of(Checkpoint checkpoint, Func<string, string>? driveOf = null)
    {
        ModelTensor[] experts = [.. ModelTensors.Of(checkpoint.Config).Where(t => t.Component == Component.RoutedExperts)];
        if (experts.Length == 0)
        {
            return [];
        }

        int ofLayer = checkpoint.Config.RoutedExpertCount * MatricesOfExpert;
        string[] drives = [.. checkpoint.Shards.Select(s => (driveOf ?? DriveNames.Of)(checkpoint.Files.PathOf(s)))];
        Dictionary<string, double[]> shares = drives.Distinct().ToDictionary(d => d, _ => new double[experts.Length / ofLayer]);
        foreach ((int layer, ModelTensor[] matrices) in experts.Chunk(ofLayer).Index())
        {
            TensorEntry[] tensors = [.. matrices.SelectMany(m => Tensors(checkpoint, m))];
            double bytes = tensors.Sum(t => (double)t.Length);
            foreach (TensorEntry tensor in tensors)
            {
                shares[drives[tensor.Shard]][layer] += tensor.Length / bytes;
            }
        }

        return shares;
    }

    private static TensorEntry[] Tensors(Checkpoint checkpoint, ModelTensor tensor)
    {
        StoredMatrix matrix = checkpoint.ResolveMatrix(tensor.Name, tensor.Rows, tensor.Columns, readWeightShape: false);
        return matrix.Scales is { } scales ? [matrix.Data, scales] : [matrix.Data];
    }
}
