// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;

namespace KimiCpu.Weights;

/// <summary>
/// Turns an open checkpoint into <see cref="ModelWeights"/>: views of the mapping, no copies but of the norms and the
/// router's bias; or of memory that all but the routed experts are read into when they are held. Every shape is checked
/// against the configuration on the way.
/// </summary>
internal sealed class WeightLoader
{
    private readonly Checkpoint _checkpoint;
    private readonly ResidentTensors? _resident;
    private readonly DrivePatience _patience;
    private readonly ReadThreads _reads;

    private WeightLoader(Checkpoint checkpoint, ResidentTensors? resident, DrivePatience patience, ReadThreads reads) =>
        (_checkpoint, _resident, _patience, _reads) = (checkpoint, resident, patience, reads);

    /// <param name="checkpoint">Stays open as long as the weights are used.</param>
    /// <param name="progress">Told after every layer: layers done, layers in all.</param>
    /// <param name="resident">Where all but the routed experts are to be when they are held; null for views of the mapping.</param>
    /// <param name="patience">How long drives may be silent while norms and the like are read; null for as long as they may in a step.</param>
    /// <exception cref="CheckpointException">A tensor is missing or does not match the configuration, or cannot be read.</exception>
    public static ModelWeights Load(Checkpoint checkpoint, Action<int, int>? progress = null, ResidentTensors? resident = null, TimeSpan? patience = null)
    {
        using var reads = new ReadThreads();
        return new WeightLoader(checkpoint, resident, new DrivePatience(patience ?? DrivePatience.Default), reads).Load(progress);
    }

    private ModelWeights Load(Action<int, int>? progress)
    {
        Checkpoint checkpoint = _checkpoint;
        KimiConfig config = checkpoint.Config;
        ModelShape shape = ShapeOf(config);
        WeightMatrix embedding = Matrix("model.embed_tokens", shape.VocabularySize, shape.HiddenSize);
        var layers = new LayerWeights[shape.LayerCount];
        var counting = new Lock();
        int done = 0;
        try
        {
            // Norms are read from the files; from a cold drive that is latency, which layers can share.
            Parallel.For(0, layers.Length, layer =>
            {
                layers[layer] = Layer(shape, layer);

                // Whoever is told sees it count up.
                lock (counting)
                {
                    progress?.Invoke(++done, layers.Length);
                }
            });
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        return new ModelWeights
        {
            Shape = shape,
            Residence = _resident,
            Embedding = embedding,
            Layers = layers,
            FinalNorm = Vector("model.norm.weight", shape.HiddenSize),
            Head = config.TieEmbeddings ? embedding : Matrix("lm_head", shape.VocabularySize, shape.HiddenSize),
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

    private LayerWeights Layer(ModelShape shape, int layer)
    {
        KimiConfig config = _checkpoint.Config;
        string prefix = $"model.layers.{layer}.";
        bool moe = config.IsMoe(layer);
        int sharedSize = config.MoeIntermediateSize * config.SharedExpertCount;
        var experts = new MlpWeights[moe ? shape.ExpertCount : 0];
        for (int e = 0; e < experts.Length; e++)
        {
            // One expert stands for its layer; `kimi verify` reads them all.
            experts[e] = Mlp($"{prefix}mlp.experts.{e}", shape.HiddenSize, shape.ExpertIntermediateSize, routed: true, readWeightShape: e == 0);
        }

        return new LayerWeights
        {
            InputNorm = Vector(prefix + "input_layernorm.weight", shape.HiddenSize),
            Attention = Attention(shape, prefix + "self_attn."),
            PostAttentionNorm = Vector(prefix + "post_attention_layernorm.weight", shape.HiddenSize),
            Dense = moe ? null : Mlp(prefix + "mlp", shape.HiddenSize, config.IntermediateSize),
            Router = moe ? Router(shape, prefix + "mlp.gate") : null,
            Shared = moe && sharedSize > 0 ? Mlp(prefix + "mlp.shared_experts", shape.HiddenSize, sharedSize) : null,
            Experts = experts,
        };
    }

    private AttentionWeights Attention(ModelShape shape, string prefix)
    {
        int queryRows = shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize);
        int rank = shape.QueryLoraRank;
        return new AttentionWeights
        {
            QueryA = rank > 0 ? Matrix(prefix + "q_a_proj", rank, shape.HiddenSize) : default,
            QueryANorm = rank > 0 ? Vector(prefix + "q_a_layernorm.weight", rank) : [],
            QueryB = rank > 0 ? Matrix(prefix + "q_b_proj", queryRows, rank) : Matrix(prefix + "q_proj", queryRows, shape.HiddenSize),
            KeyValueA = Matrix(prefix + "kv_a_proj_with_mqa", shape.CacheWidth, shape.HiddenSize),
            KeyValueANorm = Vector(prefix + "kv_a_layernorm.weight", shape.KeyValueLoraRank),
            KeyValueB = Matrix(prefix + "kv_b_proj", shape.HeadCount * (shape.NopeHeadSize + shape.ValueHeadSize), shape.KeyValueLoraRank),
            Output = Matrix(prefix + "o_proj", shape.HiddenSize, shape.HeadCount * shape.ValueHeadSize),
        };
    }

    private RouterWeights Router(ModelShape shape, string stem) => new()
    {
        Gate = Matrix(stem, shape.ExpertCount, shape.HiddenSize),
        CorrectionBias = Vector(stem + ".e_score_correction_bias", shape.ExpertCount),
    };

    private MlpWeights Mlp(string stem, int hidden, int intermediate, bool routed = false, bool readWeightShape = true) => new()
    {
        Gate = Matrix(stem + ".gate_proj", intermediate, hidden, routed, readWeightShape),
        Up = Matrix(stem + ".up_proj", intermediate, hidden, routed, readWeightShape),
        Down = Matrix(stem + ".down_proj", hidden, intermediate, routed, readWeightShape),
    };

    private float[] Vector(string name, int length) => Ask(_checkpoint.Get(name), () => _checkpoint.ReadVector(name, length));

    /// <summary>What is copied comes by ordinary reads, which nobody could end where a drive does not answer.</summary>
    private T Ask<T>(TensorEntry tensor, Func<T> read)
    {
        Task<T> reading = _reads.Run(read);
        if (!_patience.TryWait(reading))
        {
            throw CheckpointWeightFiles.Failure(_checkpoint.Files.PathOf(_checkpoint.Shards[tensor.Shard]), tensor.Name, tensor.Offset, _patience.Problem, null);
        }

        _patience.NoteAnswer();
        return reading.GetAwaiter().GetResult();
    }

    private unsafe WeightMatrix Matrix(string stem, int rows, int columns, bool routed = false, bool readWeightShape = true)
    {
        StoredMatrix stored = readWeightShape && _checkpoint.Contains(stem + ".weight_packed")
            ? Ask(_checkpoint.WeightShapeOf(stem), () => _checkpoint.ResolveMatrix(stem, rows, columns))
            : _checkpoint.ResolveMatrix(stem, rows, columns, readWeightShape: false);
        WeightFormat format = stored.Format switch
        {
            StoredFormat.Float32 => WeightFormat.Float32,
            StoredFormat.Float16 => WeightFormat.Float16,
            StoredFormat.BFloat16 => WeightFormat.BFloat16,
            StoredFormat.Float8Block => WeightFormat.Float8Block,
            _ => WeightFormat.Int4Group32,
        };
        ResidentTensors? resident = routed ? null : _resident;
        return new WeightMatrix(format, rows, columns, Bytes(stored.Data), stored.Scales is { } entry ? Bytes(entry) : null, stored.BlockRows, stored.BlockColumns);

        byte* Bytes(TensorEntry tensor) => resident is null ? _checkpoint.Pointer(tensor) : resident.Place(tensor);
    }
}
