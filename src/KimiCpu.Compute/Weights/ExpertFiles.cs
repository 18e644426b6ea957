// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>Where a tensor's bytes lie; of length 0 where there is no such tensor.</summary>
internal readonly record struct TensorPlace(int File, long Offset, long Length)
{
    public long End => Offset + Length;
}

/// <summary>Where the bytes of every routed expert lie in the checkpoint's files.</summary>
internal sealed class ExpertFiles
{
    /// <summary>Gate, up and down, of each the weights and then the scales.</summary>
    public const int Parts = 6;

    private readonly TensorPlace[]?[] _layers;
    private readonly Func<int, int, int, string> _nameOf;

    /// <param name="files">What to read from; stays the caller's.</param>
    /// <param name="layers">By layer (experts, parts); null in dense layers.</param>
    /// <param name="nameOf">The name of (layer, expert, part).</param>
    public ExpertFiles(IWeightFiles files, TensorPlace[]?[] layers, Func<int, int, int, string> nameOf)
    {
        Files = files;
        _layers = layers;
        _nameOf = nameOf;
    }

    public IWeightFiles Files { get; }

    public int LayerCount => _layers.Length;

    /// <summary>0 in dense layers.</summary>
    public int ExpertsOf(int layer) => (_layers[layer]?.Length ?? 0) / Parts;

    public ReadOnlySpan<TensorPlace> Of(int layer, int expert) => _layers[layer].AsSpan(expert * Parts, Parts);

    public string NameOf(int layer, int expert, int part) => _nameOf(layer, expert, part);
}
