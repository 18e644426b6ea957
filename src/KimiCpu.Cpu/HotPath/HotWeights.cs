// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>The linear weights of the hot path: views of the checkpoint, or 8-bit copies where they are asked for.</summary>
internal sealed unsafe class HotWeights
{
    /// <param name="weights">Of the model.</param>
    /// <param name="copies">Makes and owns the copies; null for none.</param>
    /// <param name="progress">Told after every part that is read or copied, the layers and then the head: parts done, parts in all. May throw to stop.</param>
    public HotWeights(ModelWeights weights, Int8Copies? copies, Action<int, int>? progress = null)
    {
        int parts = weights.Layers.Length + 1;
        using var turn = new WeightsInTurn(weights.Residence, weights.HotMatrices);
        HotMatrix Matrix(WeightMatrix weight)
        {
            HotMatrix hot = copies is null ? new HotMatrix(weight) : copies.Copy(weight);
            if (hot.Is8Bit)
            {
                turn.LetGo(weight);
            }

            return hot;
        }

        HotMlp? Mlp(MlpWeights? mlp) => mlp is null ? null : new HotMlp(Matrix(mlp.Gate), Matrix(mlp.Up), Matrix(mlp.Down));
        void Report(int done)
        {
            if (copies is not null || weights.Residence is not null)
            {
                progress?.Invoke(done, parts);
            }
        }

        var layers = new List<HotLayer>(weights.Layers.Length);
        foreach (LayerWeights layer in weights.Layers)
        {
            foreach (WeightMatrix _ in layer.HotMatrices)
            {
                turn.Take();
            }

            layers.Add(new HotLayer
            {
                QueryA = Matrix(layer.Attention.QueryA),
                QueryB = Matrix(layer.Attention.QueryB),
                KeyValueA = Matrix(layer.Attention.KeyValueA),
                Output = Matrix(layer.Attention.Output),
                Dense = Mlp(layer.Dense),
                Shared = Mlp(layer.Shared),
            });
            Report(layers.Count);
        }

        Layers = layers;
        turn.Take();
        Head = Matrix(weights.Head);
        Report(parts);
        turn.Keep();
    }

    public IReadOnlyList<HotLayer> Layers { get; }

    public HotMatrix Head { get; }
}

/// <summary>The weights of one layer; the key and value expansion and the router stay as stored.</summary>
internal sealed class HotLayer
{
    public required HotMatrix QueryA { get; init; }

    public required HotMatrix QueryB { get; init; }

    public required HotMatrix KeyValueA { get; init; }

    public required HotMatrix Output { get; init; }

    public required HotMlp? Dense { get; init; }

    public required HotMlp? Shared { get; init; }

    /// <summary>Bytes that a pass reads less than are stored.</summary>
    public long SavedBytes =>
        QueryA.SavedBytes + QueryB.SavedBytes + KeyValueA.SavedBytes + Output.SavedBytes + (Dense?.SavedBytes ?? 0) + (Shared?.SavedBytes ?? 0);
}
