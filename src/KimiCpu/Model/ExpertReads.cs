// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>Counts the bytes of routed experts that a layer reads: each chosen expert once, however many rows chose it, and none that another device holds.</summary>
internal sealed unsafe class ExpertReads(ModelWeights weights)
{
    private readonly long[] _lastCount = new long[weights.Shape.ExpertCount];
    private long _count;

    public long Of(int layer, RoutedRows rows)
    {
        // Experts are marked with the number of the count, so that no marks have to be cleared between counts.
        _count++;
        MlpWeights[] experts = weights.Layers[layer].Experts;
        int pairs = rows.RowCount * weights.Shape.ExpertsPerToken;
        long bytes = 0;
        for (int pair = 0; pair < pairs; pair++)
        {
            int expert = rows.Experts[pair];
            if (_lastCount[expert] != _count && rows.IsHere(expert))
            {
                _lastCount[expert] = _count;
                bytes += experts[expert].TotalBytes;
            }
        }

        return bytes;
    }
}
