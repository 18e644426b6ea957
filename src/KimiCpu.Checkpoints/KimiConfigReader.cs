// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Checkpoints;

/// <summary>
/// <c>config.json</c> → <see cref="KimiConfig"/>. Kimi K2 Instruct, 0905 and Thinking have their values at the top, K2.5
/// and later under <c>text_config</c>. What the arithmetic here does not do is refused by name.
/// </summary>
internal static class KimiConfigReader
{
    public const string File = "config.json";
    private const string GenerationFile = "generation_config.json";

    /// <summary>Above any real size, and small enough that products of three sizes fit a long.</summary>
    private const int MaxSize = 1 << 20;

    public static KimiConfig Read(CheckpointFiles files) => files.ReadJson(File, element => Read(files, element));

    private static KimiConfig Read(CheckpointFiles files, JsonElement element)
    {
        var root = new ConfigObject(element, files.PathOf(File));
        ConfigObject c = root.Object("text_config") ?? root;
        CheckArchitecture(root, c);
        CheckSupported(c);

        ConfigObject? quantization = root.Object("quantization_config") ?? c.Object("quantization_config");
        (int blockRows, int blockColumns) = quantization is { } q ? ReadQuantization(q) : (128, 128);
        int experts = c.Integer("n_routed_experts", 0, MaxSize, 0);
        int perToken = experts > 0 ? c.Integer("num_experts_per_tok", 1, experts) : 0;
        int groups = c.Integer("n_group", 1, Math.Max(1, experts), 1);
        if (experts % groups != 0)
        {
            throw c.Error("n_group", $"{experts} experts do not divide into {groups} groups.");
        }

        int groupsPerToken = c.Integer("topk_group", 1, groups, 1);
        if (experts > 0 && experts / groups * groupsPerToken < perToken)
        {
            throw c.Error("topk_group", $"{groupsPerToken} of {groups} groups hold fewer than the {perToken} experts of a token.");
        }

        int vocabulary = c.Integer("vocab_size", 1, 1 << 24);
        int rope = c.Integer("qk_rope_head_dim", 2, 1 << 14);

        // As transformers 5 writes what were two fields.
        ConfigObject? rotary = c.Object("rope_parameters");
        return new KimiConfig
        {
            Architecture = root.FirstText("architectures", "unknown"),
            ModelType = root.Text("model_type", "unknown"),
            HiddenSize = c.Integer("hidden_size", 1, MaxSize),
            LayerCount = c.Integer("num_hidden_layers", 1, 10_000),
            VocabularySize = vocabulary,
            HeadCount = c.Integer("num_attention_heads", 1, 1 << 14),
            QueryLoraRank = c.Integer("q_lora_rank", 1, MaxSize, 0),
            KeyValueLoraRank = c.Integer("kv_lora_rank", 1, MaxSize),
            NopeHeadSize = c.Integer("qk_nope_head_dim", 1, 1 << 14),
            RopeHeadSize = rope % 2 == 0 ? rope : throw c.Error("qk_rope_head_dim", $"Expected an even number, found {rope}."),
            ValueHeadSize = c.Integer("v_head_dim", 1, 1 << 14),
            IntermediateSize = c.Integer("intermediate_size", 1, MaxSize),
            MoeIntermediateSize = experts > 0 ? c.Integer("moe_intermediate_size", 1, MaxSize) : 0,
            RoutedExpertCount = experts,
            SharedExpertCount = c.Integer("n_shared_experts", 0, 1024, 0),
            ExpertsPerToken = perToken,
            ExpertGroupCount = groups,
            ExpertGroupsPerToken = groupsPerToken,
            FirstDenseLayers = c.Integer("first_k_dense_replace", 0, 10_000, 0),
            MoeLayerFrequency = c.Integer("moe_layer_freq", 1, 10_000, 1),
            NormalizeExpertWeights = c.Flag("norm_topk_prob", true),
            RoutedScalingFactor = c.Number("routed_scaling_factor", 0, 1, most: 1e9),
            NormEpsilon = c.Number("rms_norm_eps", 1e-37, most: 1e9),
            RopeTheta = c.Number("rope_theta", 1, rotary?.Number("rope_theta", 1, 10000) ?? 10000),
            RopeScaling = c.Object("rope_scaling") is { } scaling ? ReadYarn(scaling, "yarn") : rotary is { } parameters ? ReadYarn(parameters, "default") : null,
            MaxPositions = c.Integer("max_position_embeddings", 1, 1 << 30),
            TieEmbeddings = c.Flag("tie_word_embeddings", false),
            EosTokenIds = EndOfText(files, root, c, vocabulary),
            Float8BlockRows = blockRows,
            Float8BlockColumns = blockColumns,
            QuantizationMethod = quantization?.Text("quant_method", "none") ?? "none",
        };
    }

    /// <summary>Other models' folders are no damaged downloads; told apart by what they compute, since names of the same model vary.</summary>
    private static void CheckArchitecture(ConfigObject root, ConfigObject c)
    {
        string name = $"{root.FirstText("architectures", "no architecture")} (model_type {root.Text("model_type", "not given")})";
        if (!c.Has("kv_lora_rank") && !c.Has("qk_rope_head_dim"))
        {
            throw Other("kv_lora_rank", "has no latent attention");
        }

        // Kimi Linear has both fields, and so has DeepSeek V3.2.
        foreach (string field in (ReadOnlySpan<string>)["linear_attn_config", "index_topk"])
        {
            if (c.Has(field))
            {
                throw Other(field, "attends in another way");
            }
        }

        CheckpointException Other(string field, string difference) =>
            c.Unsupported(field, $"Expected the architecture of Kimi K2, DeepseekV3ForCausalLM; found {name}, which {difference}.");
    }

    private static void CheckSupported(ConfigObject c)
    {
        c.Require("scoring_func", "sigmoid");
        c.Require("topk_method", "noaux_tc");
        c.Require("hidden_act", "silu");
        if (c.Flag("attention_bias", false))
        {
            throw c.Unsupported("attention_bias", "Expected false: biases in attention are not supported.");
        }

        if (!c.Flag("rope_interleave", true))
        {
            throw c.Unsupported("rope_interleave", "Expected true: rotated pairs lie side by side.");
        }
    }

    private static YarnConfig? ReadYarn(ConfigObject scaling, string missingType)
    {
        string type = scaling.Text("type", scaling.Text("rope_type", missingType));
        if (type == "default")
        {
            return null;
        }

        if (type != "yarn")
        {
            throw scaling.Unsupported("type", $"Expected 'yarn', found '{type}'.");
        }

        return new YarnConfig(
            scaling.Number("factor", 0),
            scaling.Number("original_max_position_embeddings", 0, 4096),
            scaling.Number("beta_fast", 0, 32),
            scaling.Number("beta_slow", 0, 1),
            scaling.Number("mscale", -1, 1),
            scaling.Number("mscale_all_dim", -1, 0));
    }

    /// <summary>FP8 block sizes; refuses forms of INT4 other than symmetric groups of 32.</summary>
    private static (int Rows, int Columns) ReadQuantization(ConfigObject quantization)
    {
        string method = quantization.Text("quant_method", "");
        if (method == "compressed-tensors")
        {
            quantization.Require("format", "pack-quantized");
            foreach (ConfigObject group in quantization.Object("config_groups")?.Objects() ?? [])
            {
                if (group.Object("weights") is not { } weights)
                {
                    continue;
                }

                weights.Require("num_bits", 4);
                weights.Require("group_size", 32);
                weights.Require("type", "int");
                if (!weights.Flag("symmetric", true))
                {
                    throw weights.Unsupported("symmetric", "Expected true: zero points are not supported.");
                }

                // The others have columns in an order of their own, that of weight_g_idx.
                if (weights.Text("actorder", "weight") is not ("weight" or "static") and string order)
                {
                    throw weights.Unsupported("actorder", $"Expected none, 'weight' or 'static', found '{order}': groups of columns in another order are not supported.");
                }
            }

            return (128, 128);
        }

        if (method != "fp8")
        {
            throw quantization.Unsupported("quant_method", $"Expected 'compressed-tensors' or 'fp8', found '{method}'.");
        }

        IReadOnlyList<int> block = quantization.Integers("weight_block_size");
        return block switch
        {
            [] => (128, 128),
            [> 0 and <= MaxSize, > 0 and <= MaxSize] => (block[0], block[1]),
            _ => throw quantization.Error("weight_block_size", "Expected two whole numbers of at least 1."),
        };
    }

    private static List<int> EndOfText(CheckpointFiles files, ConfigObject root, ConfigObject config, int vocabulary)
    {
        IReadOnlyList<int> generation = files.Exists(GenerationFile)
            ? files.ReadJson(GenerationFile, e => EndOfText(new ConfigObject(e, files.PathOf(GenerationFile)), vocabulary))
            : [];
        return [.. EndOfText(config, vocabulary).Concat(EndOfText(root, vocabulary)).Concat(generation).Distinct().Order()];
    }

    private static IReadOnlyList<int> EndOfText(ConfigObject source, int vocabulary)
    {
        IReadOnlyList<int> ids = source.Integers("eos_token_id");
        return ids.FirstOrDefault(id => id >= vocabulary, -1) is var wrong and >= 0
            ? throw source.Error("eos_token_id", $"Id {wrong} is outside the vocabulary of {vocabulary}.")
            : ids;
    }
}
