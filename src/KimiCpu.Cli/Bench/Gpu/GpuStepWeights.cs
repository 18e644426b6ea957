// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>A model's sizes without its numbers, for a device's memory that is filled otherwise.</summary>
internal static unsafe class GpuStepWeights
{
    /// <summary>Weights whose stored values nobody may read.</summary>
    public static ModelWeights Of(GpuBenchSizes sizes, int layers)
    {
        ModelShape shape = sizes.Shape with { LayerCount = layers };
        float[] norm = new float[shape.HiddenSize];
        float[] queryNorm = new float[shape.QueryLoraRank];
        float[] latentNorm = new float[shape.KeyValueLoraRank];
        float[] bias = new float[shape.ExpertCount];
        return new ModelWeights
        {
            Shape = shape,
            Embedding = default,
            FinalNorm = norm,
            Head = Matrix(shape.VocabularySize, shape.HiddenSize),
            Layers = [.. Enumerable.Range(0, layers).Select(layer => new LayerWeights
            {
                InputNorm = norm,
                PostAttentionNorm = norm,
                Attention = new AttentionWeights
                {
                    QueryA = Matrix(shape.QueryLoraRank, shape.HiddenSize),
                    QueryANorm = queryNorm,
                    QueryB = Matrix(shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize), shape.QueryLoraRank),
                    KeyValueA = Matrix(shape.CacheWidth, shape.HiddenSize),
                    KeyValueANorm = latentNorm,
                    KeyValueB = Matrix(shape.HeadCount * (shape.NopeHeadSize + shape.ValueHeadSize), shape.KeyValueLoraRank),
                    Output = Matrix(shape.HiddenSize, shape.HeadCount * shape.ValueHeadSize),
                },
                Dense = layer < sizes.DenseLayers ? Mlp(shape.HiddenSize, sizes.DenseWidth) : null,
                Shared = layer < sizes.DenseLayers ? null : Mlp(shape.HiddenSize, shape.ExpertIntermediateSize),
                Router = layer < sizes.DenseLayers ? null : new RouterWeights { Gate = Matrix(shape.ExpertCount, shape.HiddenSize), CorrectionBias = bias },
            })],
        };
    }

    /// <summary>All that can be is reduced to 8 bits.</summary>
    public static DeviceWeights OnDevice(ModelWeights weights) => new(weights, WeightPlan.All[^1]);

    private static MlpWeights Mlp(int hidden, int width) => new() { Gate = Matrix(width, hidden), Up = Matrix(width, hidden), Down = Matrix(hidden, width) };

    /// <summary>An empty matrix would be one that the model does not have; this address is no one's.</summary>
    private static WeightMatrix Matrix(int rows, int columns) => new(WeightFormat.BFloat16, rows, columns, (byte*)1);
}
