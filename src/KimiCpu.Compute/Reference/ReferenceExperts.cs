// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute.Reference;

/// <summary>The routed experts, one token and one expert after another.</summary>
internal sealed unsafe class ReferenceExperts : IRoutedExperts
{
    private readonly ModelWeights _weights;

    public ReferenceExperts(ModelWeights weights) => _weights = weights;

    public long DriveBytesRead => 0;

    public void Run(int layer, RoutedRows rows, Span<float> sum)
    {
        int hidden = _weights.Shape.HiddenSize;
        int chosen = _weights.Shape.ExpertsPerToken;
        var output = new float[hidden];
        var total = new double[hidden];
        for (int row = 0; row < rows.RowCount; row++)
        {
            Array.Clear(total);
            var x = new ReadOnlySpan<float>(rows.Hidden + ((long)row * hidden), hidden);
            for (int k = 0; k < chosen; k++)
            {
                int pair = (row * chosen) + k;
                if (!rows.IsHere(rows.Experts[pair]))
                {
                    continue;
                }

                ReferenceOps.Mlp(_weights.Layers[layer].Experts[rows.Experts[pair]], x, 1, output);
                for (int i = 0; i < hidden; i++)
                {
                    total[i] += (double)rows.Weights[pair] * output[i];
                }
            }

            for (int i = 0; i < hidden; i++)
            {
                sum[(row * hidden) + i] = (float)total[i];
            }
        }

        for (int e = 0; rows.Passing is not null && e < _weights.Shape.ExpertCount; e++)
        {
            if (rows.Passing.Passes(e))
            {
                rows.Passing.HandOver(e, _weights.Layers[layer].Experts[e]);
            }
        }
    }

    public void Dispose()
    {
    }
}
