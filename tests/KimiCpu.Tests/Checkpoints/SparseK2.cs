// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>Writes Kimi K2 Thinking's headers, in files of its names, with holes for data that take no space on disk.</summary>
internal static class SparseK2
{
    private const string Config = """
        {"architectures":["DeepseekV3ForCausalLM"],"model_type":"kimi_k2","hidden_size":7168,"num_hidden_layers":61,"vocab_size":163840,
        "num_attention_heads":64,"q_lora_rank":1536,"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,
        "intermediate_size":18432,"moe_intermediate_size":2048,"n_routed_experts":384,"n_shared_experts":1,"num_experts_per_tok":8,
        "first_k_dense_replace":1,"norm_topk_prob":true,"routed_scaling_factor":2.827,"rms_norm_eps":1e-5,"rope_theta":50000,
        "max_position_embeddings":262144,"scoring_func":"sigmoid","topk_method":"noaux_tc","eos_token_id":163586,
        "rope_scaling":{"type":"yarn","factor":64,"original_max_position_embeddings":4096,"beta_fast":1,"beta_slow":1,"mscale":1,"mscale_all_dim":1},
        "quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized"}}
        """;

    public static void Write(string folder)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), Config);
        ModelTensor[] tensors = [.. ModelTensors.Of(KimiConfigReader.Read(new FolderCheckpointFiles(folder)))];
        var index = new System.Text.StringBuilder("{\"weight_map\":{");
        foreach (IGrouping<int, ModelTensor> shard in tensors.GroupBy(t => ShardOf(t.Name)))
        {
            string file = $"model-{shard.Key:D5}-of-000062.safetensors";
            TensorToWrite[] content = [.. shard.SelectMany(Stored)];
            SafetensorsWriter.Write(Path.Combine(folder, file), content);
            foreach (TensorToWrite tensor in content)
            {
                index.Append('"').Append(tensor.Name).Append("\":\"").Append(file).Append("\",");
            }
        }

        index.Length--;
        File.WriteAllText(Path.Combine(folder, ShardIndex.File), index.Append("}}").ToString());
    }

    private static int ShardOf(string name)
    {
        string[] parts = name.Split('.');
        return parts.Length > 2 && parts[1] == "layers" ? int.Parse(parts[2]) + 1 : 62;
    }

    private static IEnumerable<TensorToWrite> Stored(ModelTensor tensor)
    {
        long rows = tensor.Rows;
        long columns = tensor.Columns;
        if (columns == 0)
        {
            return [new(tensor.Name, tensor.Component == Component.Router ? ElementType.Float32 : ElementType.BFloat16, [rows], null)];
        }

        if (tensor.Component != Component.RoutedExperts)
        {
            return [new(tensor.Name + ".weight", ElementType.BFloat16, [rows, columns], null)];
        }

        return
        [
            new(tensor.Name + ".weight_packed", ElementType.Int32, [rows, columns / 8], null),
            new(tensor.Name + ".weight_scale", ElementType.BFloat16, [rows, columns / 32], null),
            new(tensor.Name + ".weight_shape", ElementType.Int32, [2], (part, _) =>
            {
                BinaryPrimitives.WriteInt32LittleEndian(part, tensor.Rows);
                BinaryPrimitives.WriteInt32LittleEndian(part[4..], tensor.Columns);
            }),
        ];
    }
}
