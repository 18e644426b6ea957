// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>What a tensor is for.</summary>
internal enum Component
{
    Embedding,
    Attention,
    DenseMlp,
    Router,
    SharedExperts,
    RoutedExperts,
    Norms,
    Head,
}

/// <summary>A tensor that the architecture needs.</summary>
/// <param name="Name">Stem of a matrix, whole name of a vector.</param>
/// <param name="Rows">Output features; length of a vector.</param>
/// <param name="Columns">Input features; 0 for a vector.</param>
/// <param name="Component">What it is for.</param>
internal readonly record struct ModelTensor(string Name, int Rows, int Columns, Component Component)
{
    public long Parameters => (long)Rows * Math.Max(1, Columns);
}

/// <summary>Every tensor that a configuration calls for, in the model's order.</summary>
internal static class ModelTensors
{
    public static IEnumerable<ModelTensor> Of(KimiConfig config)
    {
        yield return new("model.embed_tokens", config.VocabularySize, config.HiddenSize, Component.Embedding);
        for (int layer = 0; layer < config.LayerCount; layer++)
        {
            string prefix = $"model.layers.{layer}.";
            yield return new(prefix + "input_layernorm.weight", config.HiddenSize, 0, Component.Norms);
            yield return new(prefix + "post_attention_layernorm.weight", config.HiddenSize, 0, Component.Norms);
            foreach (ModelTensor tensor in Attention(config, prefix + "self_attn.").Concat(config.IsMoe(layer) ? Moe(config, prefix + "mlp.") : Mlp(prefix + "mlp", config.HiddenSize, config.IntermediateSize, Component.DenseMlp)))
            {
                yield return tensor;
            }
        }

        yield return new("model.norm.weight", config.HiddenSize, 0, Component.Norms);
        if (!config.TieEmbeddings)
        {
            yield return new("lm_head", config.VocabularySize, config.HiddenSize, Component.Head);
        }
    }

    private static IEnumerable<ModelTensor> Attention(KimiConfig c, string prefix)
    {
        int queryRows = c.HeadCount * (c.NopeHeadSize + c.RopeHeadSize);
        if (c.QueryLoraRank > 0)
        {
            yield return new(prefix + "q_a_proj", c.QueryLoraRank, c.HiddenSize, Component.Attention);
            yield return new(prefix + "q_a_layernorm.weight", c.QueryLoraRank, 0, Component.Norms);
            yield return new(prefix + "q_b_proj", queryRows, c.QueryLoraRank, Component.Attention);
        }
        else
        {
            yield return new(prefix + "q_proj", queryRows, c.HiddenSize, Component.Attention);
        }

        yield return new(prefix + "kv_a_proj_with_mqa", c.KeyValueLoraRank + c.RopeHeadSize, c.HiddenSize, Component.Attention);
        yield return new(prefix + "kv_a_layernorm.weight", c.KeyValueLoraRank, 0, Component.Norms);
        yield return new(prefix + "kv_b_proj", c.HeadCount * (c.NopeHeadSize + c.ValueHeadSize), c.KeyValueLoraRank, Component.Attention);
        yield return new(prefix + "o_proj", c.HiddenSize, c.HeadCount * c.ValueHeadSize, Component.Attention);
    }

    private static IEnumerable<ModelTensor> Moe(KimiConfig c, string prefix)
    {
        yield return new(prefix + "gate", c.RoutedExpertCount, c.HiddenSize, Component.Router);
        yield return new(prefix + "gate.e_score_correction_bias", c.RoutedExpertCount, 0, Component.Router);
        for (int e = 0; e < c.RoutedExpertCount; e++)
        {
            foreach (ModelTensor tensor in Mlp($"{prefix}experts.{e}", c.HiddenSize, c.MoeIntermediateSize, Component.RoutedExperts))
            {
                yield return tensor;
            }
        }

        if (c.SharedExpertCount > 0)
        {
            foreach (ModelTensor tensor in Mlp(prefix + "shared_experts", c.HiddenSize, c.MoeIntermediateSize * c.SharedExpertCount, Component.SharedExperts))
            {
                yield return tensor;
            }
        }
    }

    private static IEnumerable<ModelTensor> Mlp(string stem, int hidden, int width, Component component) =>
    [
        new(stem + ".gate_proj", width, hidden, component),
        new(stem + ".up_proj", width, hidden, component),
        new(stem + ".down_proj", hidden, width, component),
    ];
}
