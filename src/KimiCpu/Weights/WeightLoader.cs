// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;

namespace KimiCpu.Weights;

/// <summary>
/// Turns an open checkpoint into <see cref="ModelWeights"/>: views of the mapping, no copies but of the norms and the
/// router's bias. Every shape is checked against the configuration on the way.
/// </summary>
internal static class WeightLoader
{
    /// <param name="checkpoint">Stays open as long as the weights are used.</param>
    /// <param name="progress">Told after every layer: layers done, layers in all.</param>
    /// <exception cref="CheckpointException">A tensor is missing or does not match the configuration.</exception>
    public static ModelWeights Load(Checkpoint checkpoint, Action<int, int>? progress = null)
    {
        KimiConfig config = checkpoint.Config;
        ModelShape shape = ShapeOf(config);
        WeightMatrix embedding = Matrix(checkpoint, "model.embed_tokens", shape.VocabularySize, shape.HiddenSize);
        bool tied = config.TieEmbeddings || !checkpoint.Contains("lm_head.weight");
        var layers = new LayerWeights[shape.LayerCount];
        int done = 0;
        try
        {
            // Norms are read from the files; from a cold drive that is latency, which layers can share.
            Parallel.For(0, layers.Length, layer =>
            {
                layers[layer] = Layer(checkpoint, shape, layer);
                progress?.Invoke(Interlocked.Increment(ref done), layers.Length);
            });
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        return new ModelWeights
        {
            Shape = shape,
            Embedding = embedding,
            Layers = layers,
            FinalNorm = checkpoint.ReadVector("model.norm.weight", shape.HiddenSize),
            Head = tied ? embedding : Matrix(checkpoint, "lm_head", shape.VocabularySize, shape.HiddenSize),
        };
    }

    /// <summary>The numbers that arithmetic needs, from the configuration.</summary>
    public static ModelShape ShapeOf(KimiConfig config)
    {
        YarnScaling? yarn = config.RopeScaling is { } r
            ? new YarnScaling(r.Factor, r.OriginalMaxPositions, r.BetaFast, r.BetaSlow, r.MScale, r.MScaleAllDim)
            : null;
        return new ModelShape
        {
            HiddenSize = config.HiddenSize,
            LayerCount = config.LayerCount,
            VocabularySize = config.VocabularySize,
            HeadCount = config.HeadCount,
            QueryLoraRank = config.QueryLoraRank,
            KeyValueLoraRank = config.KeyValueLoraRank,
            NopeHeadSize = config.NopeHeadSize,
            RopeHeadSize = config.RopeHeadSize,
            ValueHeadSize = config.ValueHeadSize,
            ExpertCount = config.RoutedExpertCount,
            ExpertsPerToken = config.ExpertsPerToken,
            ExpertIntermediateSize = config.MoeIntermediateSize,
            ExpertGroupCount = config.ExpertGroupCount,
            ExpertGroupsPerToken = config.ExpertGroupsPerToken,
            NormalizeExpertWeights = config.NormalizeExpertWeights,
            RoutedScalingFactor = (float)config.RoutedScalingFactor,
            NormEpsilon = (float)config.NormEpsilon,
            MaxPositions = config.MaxPositions,
            Rotary = new RotaryEmbedding(config.RopeHeadSize, config.RopeTheta, yarn),
            SoftmaxScale = YarnScaling.SoftmaxScale(config.NopeHeadSize + config.RopeHeadSize, yarn),
        };
    }

    private static LayerWeights Layer(Checkpoint checkpoint, ModelShape shape, int layer)
    {
        KimiConfig config = checkpoint.Config;
        string prefix = $"model.layers.{layer}.";
        bool moe = config.IsMoe(layer);
        int sharedSize = config.MoeIntermediateSize * config.SharedExpertCount;
        var experts = new MlpWeights[moe ? shape.ExpertCount : 0];
        for (int e = 0; e < experts.Length; e++)
        {
            // One expert stands for its layer; `kimi verify` reads them all.
            experts[e] = Mlp(checkpoint, $"{prefix}mlp.experts.{e}", shape.HiddenSize, shape.ExpertIntermediateSize, readWeightShape: e == 0);
        }

        return new LayerWeights
        {
            InputNorm = checkpoint.ReadVector(prefix + "input_layernorm.weight", shape.HiddenSize),
            Attention = Attention(checkpoint, shape, prefix + "self_attn."),
            PostAttentionNorm = checkpoint.ReadVector(prefix + "post_attention_layernorm.weight", shape.HiddenSize),
            Dense = moe ? null : Mlp(checkpoint, prefix + "mlp", shape.HiddenSize, config.IntermediateSize),
            Router = moe ? Router(checkpoint, shape, prefix + "mlp.gate") : null,
            Shared = moe && sharedSize > 0 ? Mlp(checkpoint, prefix + "mlp.shared_experts", shape.HiddenSize, sharedSize) : null,
            Experts = experts,
        };
    }

    private static AttentionWeights Attention(Checkpoint checkpoint, ModelShape shape, string prefix)
    {
        int queryRows = shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize);
        int rank = shape.QueryLoraRank;
        return new AttentionWeights
        {
            QueryA = rank > 0 ? Matrix(checkpoint, prefix + "q_a_proj", rank, shape.HiddenSize) : default,
            QueryANorm = rank > 0 ? checkpoint.ReadVector(prefix + "q_a_layernorm.weight", rank) : [],
            QueryB = rank > 0 ? Matrix(checkpoint, prefix + "q_b_proj", queryRows, rank) : Matrix(checkpoint, prefix + "q_proj", queryRows, shape.HiddenSize),
            KeyValueA = Matrix(checkpoint, prefix + "kv_a_proj_with_mqa", shape.CacheWidth, shape.HiddenSize),
            KeyValueANorm = checkpoint.ReadVector(prefix + "kv_a_layernorm.weight", shape.KeyValueLoraRank),
            KeyValueB = Matrix(checkpoint, prefix + "kv_b_proj", shape.HeadCount * (shape.NopeHeadSize + shape.ValueHeadSize), shape.KeyValueLoraRank),
            Output = Matrix(checkpoint, prefix + "o_proj", shape.HiddenSize, shape.HeadCount * shape.ValueHeadSize),
        };
    }

    private static RouterWeights Router(Checkpoint checkpoint, ModelShape shape, string stem) => new()
    {
        Gate = Matrix(checkpoint, stem, shape.ExpertCount, shape.HiddenSize),
        CorrectionBias = checkpoint.ReadVector(stem + ".e_score_correction_bias", shape.ExpertCount),
    };

    private static MlpWeights Mlp(Checkpoint checkpoint, string stem, int hidden, int intermediate, bool readWeightShape = true) => new()
    {
        Gate = Matrix(checkpoint, stem + ".gate_proj", intermediate, hidden, readWeightShape),
        Up = Matrix(checkpoint, stem + ".up_proj", intermediate, hidden, readWeightShape),
        Down = Matrix(checkpoint, stem + ".down_proj", hidden, intermediate, readWeightShape),
    };

    private static unsafe WeightMatrix Matrix(Checkpoint checkpoint, string stem, int rows, int columns, bool readWeightShape = true)
    {
        StoredMatrix stored = checkpoint.ResolveMatrix(stem, rows, columns, readWeightShape);
        WeightFormat format = stored.Format switch
        {
            StoredFormat.Float32 => WeightFormat.Float32,
            StoredFormat.Float16 => WeightFormat.Float16,
            StoredFormat.BFloat16 => WeightFormat.BFloat16,
            StoredFormat.Float8Block => WeightFormat.Float8Block,
            _ => WeightFormat.Int4Group32,
        };
        byte* scales = stored.Scales is { } entry ? checkpoint.Pointer(entry) : null;
        return new WeightMatrix(format, rows, columns, checkpoint.Pointer(stored.Data), scales, stored.BlockRows, stored.BlockColumns);
    }
}
