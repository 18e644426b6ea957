// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Cli.Bench;

/// <summary>
/// Writes a checkpoint of a shape with random weights of sane size (outputs keep the inputs' magnitude, so nothing
/// overflows and the router spreads its choices), in Kimi K2 Thinking's layout: experts INT4, the rest BF16. Written
/// once, beside its place, and moved there when it is whole.
/// </summary>
internal sealed class SyntheticCheckpoint
{
    private readonly BenchShape _shape;
    private readonly Random _random = new(20260101);

    private SyntheticCheckpoint(BenchShape shape) => _shape = shape;

    /// <summary>The folder of a shape's checkpoint, written now if it is not there.</summary>
    public static string Prepare(BenchShape shape, string cacheFolder, CliStreams streams, CancellationToken cancellationToken)
    {
        string folder = Path.Combine(cacheFolder, $"synthetic-{shape.Hash}");
        if (Directory.Exists(folder))
        {
            // Those of earlier versions have no tokenizer.
            SyntheticTokenizer.Prepare(folder, shape["vocab"]);
            return folder;
        }

        try
        {
            Directory.CreateDirectory(cacheFolder);
            using var unfinished = new UnfinishedFolder(folder);
            using var progress = new ProgressLine(streams, $"Writing {folder}");
            new SyntheticCheckpoint(shape).Write(unfinished.Path, progress, cancellationToken);
            unfinished.Finish();

            // Written pages stay small; read anew they are as large as those of a model after a restart.
            FileCache.TryDrop(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The synthetic checkpoint could not be written into '{cacheFolder}': {e.Message} `--cache DIR` names another folder.", e);
        }

        return folder;
    }

    private void Write(string folder, ProgressLine progress, CancellationToken cancellationToken)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), Config());
        SyntheticTokenizer.Prepare(folder, _shape["vocab"]);
        var checkpointFiles = new FolderCheckpointFiles(folder);
        ModelTensor[] tensors = [.. ModelTensors.Of(KimiConfigReader.Read(checkpointFiles))];
        int shards = _shape["layers"] + 1;
        var shardOf = new Dictionary<string, string>();
        for (int shard = 0; shard < shards; shard++)
        {
            string file = $"model-{shard + 1:D5}-of-{shards:D5}.safetensors";
            TensorToWrite[] content = [.. tensors.Where(t => ShardOf(t.Name) == shard).SelectMany(Stored)];
            SafetensorsWriter.Write(Path.Combine(folder, file), content, cancellationToken);
            Array.ForEach(content, t => shardOf.Add(t.Name, file));
            progress.Report("shard", shard + 1, shards);
        }

        File.WriteAllText(Path.Combine(folder, ShardIndex.File), JsonText.Write(json =>
        {
            json.WriteStartObject("weight_map");
            foreach ((string name, string file) in shardOf)
            {
                json.WriteString(name, file);
            }

            json.WriteEndObject();
        }));
    }

    /// <summary>A layer a shard, and one for everything else.</summary>
    private int ShardOf(string name)
    {
        string[] parts = name.Split('.');
        return parts.Length > 2 && parts[1] == "layers" ? int.Parse(parts[2], System.Globalization.CultureInfo.InvariantCulture) : _shape["layers"];
    }

    private IEnumerable<TensorToWrite> Stored(ModelTensor tensor)
    {
        long rows = tensor.Rows;
        long columns = tensor.Columns;
        if (tensor.Columns == 0)
        {
            bool bias = tensor.Component == Component.Router;
            return [bias ? new(tensor.Name, ElementType.Float32, [rows], null) : new(tensor.Name, ElementType.BFloat16, [rows], (part, _) => MemoryMarshal.Cast<byte, ushort>(part).Fill(0x3F80))];
        }

        if (tensor.Component != Component.RoutedExperts)
        {
            double spread = tensor.Component == Component.Embedding ? 1 : Math.Sqrt(3.0 / columns);
            return [new(tensor.Name + ".weight", ElementType.BFloat16, [rows, columns], (part, _) => FillBFloat16(part, spread))];
        }

        // Uniform nibbles have a variance of 21.25.
        ushort scale = KimiCpu.Compute.BFloat16.FromSingle((float)(1 / Math.Sqrt(21.25 * columns)));
        return
        [
            new(tensor.Name + ".weight_packed", ElementType.Int32, [rows, (columns + 7) / 8], (part, _) => _random.NextBytes(part)),
            new(tensor.Name + ".weight_scale", ElementType.BFloat16, [rows, (columns + 31) / 32], (part, _) => MemoryMarshal.Cast<byte, ushort>(part).Fill(scale)),
            new(tensor.Name + ".weight_shape", ElementType.Int32, [2], (part, _) =>
            {
                BinaryPrimitives.WriteInt32LittleEndian(part, tensor.Rows);
                BinaryPrimitives.WriteInt32LittleEndian(part[4..], tensor.Columns);
            }),
        ];
    }

    /// <summary>Uniform in [-spread, spread], of 256 different values.</summary>
    private void FillBFloat16(Span<byte> part, double spread)
    {
        Span<ushort> values = stackalloc ushort[256];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = KimiCpu.Compute.BFloat16.FromSingle((float)(spread * ((2 * i / 255.0) - 1)));
        }

        Span<ushort> target = MemoryMarshal.Cast<byte, ushort>(part);
        Span<byte> chosen = stackalloc byte[4096];
        for (int i = 0; i < target.Length; i++)
        {
            if (i % chosen.Length == 0)
            {
                _random.NextBytes(chosen);
            }

            target[i] = values[chosen[i % chosen.Length]];
        }
    }

    private string Config() => JsonText.Write(json =>
    {
        json.WriteStartArray("architectures");
        json.WriteStringValue("DeepseekV3ForCausalLM");
        json.WriteEndArray();
        json.WriteString("model_type", "kimi_k2");
        foreach ((string field, string key) in new[]
        {
            ("hidden_size", "hidden"), ("num_hidden_layers", "layers"), ("first_k_dense_replace", "dense"), ("intermediate_size", "intermediate"),
            ("n_routed_experts", "experts"), ("num_experts_per_tok", "topk"), ("moe_intermediate_size", "moe"), ("n_shared_experts", "shared"),
            ("num_attention_heads", "heads"), ("q_lora_rank", "qlora"), ("kv_lora_rank", "kvlora"), ("qk_nope_head_dim", "nope"),
            ("qk_rope_head_dim", "rope"), ("v_head_dim", "v"), ("vocab_size", "vocab"),
        })
        {
            json.WriteNumber(field, _shape[key]);
        }

        json.WriteNumber("max_position_embeddings", 131072);
        json.WriteNumber("rms_norm_eps", 1e-5);
        json.WriteNumber("rope_theta", 50000);
        json.WriteNumber("routed_scaling_factor", 2.827);
        json.WriteString("scoring_func", "sigmoid");
        json.WriteString("topk_method", "noaux_tc");
        json.WriteNumber("eos_token_id", 0);
        json.WriteStartObject("quantization_config");
        json.WriteString("quant_method", "compressed-tensors");
        json.WriteString("format", "pack-quantized");
        json.WriteEndObject();
    });
}
