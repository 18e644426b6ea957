// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>The linear weights of the hot path: views of the checkpoint, or 8-bit copies where they are asked for.</summary>
internal sealed unsafe class HotWeights
{
    /// <param name="weights">Of the model.</param>
    /// <param name="copies">Makes and owns the copies; null for none.</param>
    public HotWeights(ModelWeights weights, Int8Copies? copies)
    {
        HotMatrix Matrix(WeightMatrix weight) => copies is null ? new HotMatrix(weight) : copies.Copy(weight);
        HotMlp? Mlp(MlpWeights? mlp) => mlp is null ? null : new HotMlp(Matrix(mlp.Gate), Matrix(mlp.Up), Matrix(mlp.Down));
        Layers = [.. weights.Layers.Select(l => new HotLayer
        {
            QueryA = Matrix(l.Attention.QueryA),
            QueryB = Matrix(l.Attention.QueryB),
            KeyValueA = Matrix(l.Attention.KeyValueA),
            Output = Matrix(l.Attention.Output),
            Dense = Mlp(l.Dense),
            Shared = Mlp(l.Shared),
        })];
        Head = Matrix(weights.Head);
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
