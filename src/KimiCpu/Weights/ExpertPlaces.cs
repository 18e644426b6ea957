// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;

namespace KimiCpu.Weights;

/// <summary>Finds where the routed experts lie in a checkpoint's shards.</summary>
internal static class ExpertPlaces
{
    private static readonly string[] s_projections = ["gate_proj", "up_proj", "down_proj"];

    /// <param name="checkpoint">Its tensors have been checked by <see cref="WeightLoader"/>.</param>
    /// <param name="shape">Of its model.</param>
    /// <param name="files">Its shards.</param>
    public static ExpertFiles Of(Checkpoint checkpoint, ModelShape shape, IWeightFiles files)
    {
        var layers = new TensorPlace[shape.LayerCount][];
        for (int layer = 0; layer < layers.Length; layer++)
        {
            if (checkpoint.Config.IsMoe(layer))
            {
                layers[layer] = [.. Enumerable.Range(0, shape.ExpertCount).SelectMany(e => PlacesOf(checkpoint, shape, layer, e))];
            }
        }

        return new ExpertFiles(files, layers, (layer, expert, part) => Tensor(Resolve(checkpoint, shape, layer, expert, part / 2), part % 2)!.Name);
    }

    private static IEnumerable<TensorPlace> PlacesOf(Checkpoint checkpoint, ModelShape shape, int layer, int expert)
    {
        for (int projection = 0; projection < s_projections.Length; projection++)
        {
            StoredMatrix matrix = Resolve(checkpoint, shape, layer, expert, projection);
            yield return PlaceOf(Tensor(matrix, 0));
            yield return PlaceOf(Tensor(matrix, 1));
        }
    }

    private static StoredMatrix Resolve(Checkpoint checkpoint, ModelShape shape, int layer, int expert, int projection)
    {
        bool down = projection == 2;
        return checkpoint.ResolveMatrix(
            $"model.layers.{layer}.mlp.experts.{expert}.{s_projections[projection]}",
            down ? shape.HiddenSize : shape.ExpertIntermediateSize,
            down ? shape.ExpertIntermediateSize : shape.HiddenSize,
            readWeightShape: false);
    }

    private static TensorEntry? Tensor(StoredMatrix matrix, int part) => part == 0 ? matrix.Data : matrix.Scales;

    private static TensorPlace PlaceOf(TensorEntry? tensor) => tensor is null ? default : new TensorPlace(tensor.Shard, tensor.Offset, tensor.Length);
}
