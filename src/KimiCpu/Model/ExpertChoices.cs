// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>Counts the routers' choices. One thread counts, any may ask.</summary>
internal sealed unsafe class ExpertChoices
{
    private readonly int _chosen;
    private readonly long[][] _counts;

    public ExpertChoices(ModelWeights weights)
    {
        _chosen = weights.Shape.ExpertsPerToken;
        _counts = [.. weights.Layers.Select(l => new long[l.IsMoe ? weights.Shape.ExpertCount : 0])];
    }

    /// <summary>A layer's choices for its rows.</summary>
    public void Note(int layer, RoutedRows rows)
    {
        long[] counts = _counts[layer];
        for (int i = 0; i < rows.RowCount * _chosen; i++)
        {
            counts[rows.Experts[i]]++;
        }
    }

    /// <summary>A copy: (layers, experts), empty for dense layers.</summary>
    public long[][] Copy() => [.. _counts.Select(c => (long[])c.Clone())];
}
