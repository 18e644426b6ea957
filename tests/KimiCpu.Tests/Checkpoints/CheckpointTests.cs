// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Checkpoints;
using KimiCpu.Tokens;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Checkpoints;

[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class CheckpointTests : CheckpointFixture
{
    [Test]
    public void Every_tensor_that_the_configuration_calls_for_is_there_and_no_other(
        [ValueSource(typeof(KimiCpu.Tests.Model.Golden), nameof(KimiCpu.Tests.Model.Golden.Checkpoints))] string name)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(name));
        var used = new HashSet<string>();
        foreach (ModelTensor tensor in ModelTensors.Of(checkpoint.Config))
        {
            if (tensor.Columns == 0)
            {
                checkpoint.ReadVector(tensor.Name, tensor.Rows);
                used.Add(tensor.Name);
            }
            else
            {
                StoredMatrix matrix = checkpoint.ResolveMatrix(tensor.Name, tensor.Rows, tensor.Columns);
                used.UnionWith(checkpoint.Tensors.Keys.Where(k => k.StartsWith(tensor.Name + ".weight", StringComparison.Ordinal)));
                Assert.That(matrix.Bytes, Is.Positive);
            }
        }

        Assert.That(checkpoint.Tensors.Keys.Except(used), Is.Empty);
        Assert.That(CheckpointVerifier.Verify(Repository.Checkpoint(name)).Problems, Is.Empty);
    }

    [Test]
    public void Configurations_of_the_releases_are_read_and_not_assumed()
    {
        KimiConfig int4 = KimiConfigReader.Read(new FolderCheckpointFiles(Repository.Checkpoint("tiny-int4")));
        Assert.That(int4.RopeScaling, Is.EqualTo(new YarnConfig(64, 4096, 32, 1, 1, 1)));
        Assert.That((int4.NormEpsilon, int4.RopeTheta, int4.RoutedScalingFactor), Is.EqualTo((1e-5, 50000, 2.827)));
        KimiConfig fp8 = KimiConfigReader.Read(new FolderCheckpointFiles(Repository.Checkpoint("tiny-fp8")));
        Assert.That(fp8.RopeScaling, Is.EqualTo(new YarnConfig(32, 4096, 1, 1, 1, 1)));
        KimiConfig qproj = KimiConfigReader.Read(new FolderCheckpointFiles(Repository.Checkpoint("tiny-qproj")));
        Assert.That((qproj.QueryLoraRank, qproj.SharedExpertCount, qproj.RopeScaling), Is.EqualTo((0, 2, (YarnConfig?)null)));
        KimiConfig k25 = KimiConfigReader.Read(new FolderCheckpointFiles(Repository.Checkpoint("tiny-k25")));
        Assert.That(k25 with { Architecture = int4.Architecture, ModelType = int4.ModelType, EosTokenIds = int4.EosTokenIds }, Is.EqualTo(int4));
        Assert.That(k25.EosTokenIds, Is.EqualTo(int4.EosTokenIds));
    }

    [TestCase("tiny-int4")]
    [TestCase("tiny-qproj")]
    public void One_field_of_rotary_parameters_says_what_two_did(string name)
    {
        CopyCheckpoint(name);
        KimiConfig expected = KimiConfigReader.Read(new FolderCheckpointFiles(Folder));
        EditJson("config.json", c =>
        {
            JsonObject parameters = c["rope_scaling"] is JsonObject scaling ? (JsonObject)scaling.DeepClone() : [];
            if (parameters.Remove("type"))
            {
                parameters["rope_type"] = "yarn";
            }

            parameters["rope_theta"] = expected.RopeTheta;
            c["rope_parameters"] = parameters;
            c.AsObject().Remove("rope_scaling");
            c.AsObject().Remove("rope_theta");
        });
        KimiConfig actual = KimiConfigReader.Read(new FolderCheckpointFiles(Folder));
        Assert.That((actual.RopeTheta, actual.RopeScaling), Is.EqualTo((expected.RopeTheta, expected.RopeScaling)));
    }

    [TestCase("hidden_size", "0", "hidden_size")]
    [TestCase("hidden_size", "\"x\"", "hidden_size")]
    [TestCase("hidden_size", "null", "missing")]
    [TestCase("num_hidden_layers", "99999999999", "num_hidden_layers")]
    [TestCase("num_experts_per_tok", "17", "from 1 to 16")]
    [TestCase("n_group", "3", "do not divide")]
    [TestCase("scoring_func", "\"softmax\"", "sigmoid")]
    [TestCase("topk_method", "\"greedy\"", "noaux_tc")]
    [TestCase("hidden_act", "\"gelu\"", "silu")]
    [TestCase("attention_bias", "true", "biases")]
    [TestCase("rope_interleave", "false", "side by side")]
    [TestCase("rms_norm_eps", "0", "above 1E-37")]
    [TestCase("rms_norm_eps", "1e-60", "above 1E-37")]
    [TestCase("routed_scaling_factor", "1e300", "at most 1000000000")]
    [TestCase("qk_rope_head_dim", "15", "even")]
    [TestCase("eos_token_id", "512", "outside the vocabulary")]
    [TestCase("linear_attn_config", "{}", "DeepseekV3ForCausalLM")]
    [TestCase("index_topk", "2048", "DeepseekV3ForCausalLM")]
    [TestCase("rope_scaling", "{\"type\":\"linear\",\"factor\":2}", "yarn")]
    [TestCase("rope_scaling", "{\"type\":\"yarn\"}", "factor")]
    [TestCase("quantization_config", "{\"quant_method\":\"gptq\"}", "gptq")]
    [TestCase("quantization_config", "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4,\"group_size\":128}}}}", "Expected 32, found 128. This model is not of the Kimi K2 family")]
    [TestCase("quantization_config", "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4,\"group_size\":null}}}}", "Expected 32, found none. This model is not of the Kimi K2 family")]
    [TestCase("quantization_config", "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4,\"group_size\":32,\"symmetric\":false}}}}", "zero points")]
    [TestCase("quantization_config", "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4,\"group_size\":32,\"actorder\":\"group\"}}}}", "found 'group'")]
    public void Unsupported_or_absurd_configurations_are_refused_by_field(string field, string value, string expected)
    {
        CopyCheckpoint("tiny-int4");
        EditJson("config.json", c => c[field] = JsonNode.Parse(value));
        Assert.That(() => Checkpoint.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains(expected).And.Message.Contains("config.json"));
    }

    [Test]
    public void Folder_of_another_model_is_not_called_a_damaged_download()
    {
        File.WriteAllText(Path.Combine(Folder, "config.json"), """{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":4096,"num_hidden_layers":32,"num_attention_heads":32,"vocab_size":32000}""");
        string message = Assert.Throws<CheckpointException>(() => Checkpoint.Open(Folder))!.Message;
        Assert.That(message, Does.Contain("LlamaForCausalLM (model_type llama)").And.Contain("Kimi K2"));
        Assert.That(message, Does.Not.Contain("Fetch"));
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That((report.Problems.Count, report.FilesToFetch.Count), Is.EqualTo((1, 0)));
    }

    [TestCase("config.json")]
    [TestCase("tiktoken.model")]
    [TestCase("model-00002-of-00003.safetensors")]
    public void Pointer_of_git_lfs_is_told_from_a_damaged_file(string file)
    {
        CopyCheckpoint("tiny-int4");
        File.WriteAllText(Path.Combine(Folder, file), $"version https://git-lfs.github.com/spec/v1\noid sha256:{new string('a', 64)}\nsize 4869235\n");
        Assert.That(() => KimiModel.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains(file).And.Message.Contains("git lfs pull"));
        if (!file.EndsWith(".model", StringComparison.Ordinal))
        {
            VerificationReport report = CheckpointVerifier.Verify(Folder);
            Assert.That(report.Problems, Has.Some.Property(nameof(VerificationProblem.Remedy)).Contains("git lfs pull"));
            Assert.That(report.FilesToFetch, Is.Empty);
        }
    }

    /// <summary>Who catches what the library throws need not know of checkpoints.</summary>
    [Test]
    public void AFolder_that_is_not_there_is_an_error_of_the_library() =>
        Assert.That(() => KimiModel.Open(Path.Combine(Folder, "none")), Throws.InstanceOf<KimiException>().And.TypeOf<CheckpointException>());

    [Test]
    public void File_in_place_of_aFolder_is_refused()
    {
        string file = Path.Combine(Folder, "model.gguf");
        File.WriteAllBytes(file, [1]);
        Assert.That(() => Checkpoint.Open(file), Throws.TypeOf<CheckpointException>().With.Message.Contains("found a file"));
    }

    [Test]
    public void Folders_with_something_else_in_them_are_told_from_incomplete_downloads()
    {
        Directory.CreateDirectory(Path.Combine(Folder, "snapshots", "abc"));
        Assert.That(() => Checkpoint.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("below 'snapshots'"));
        Directory.Delete(Path.Combine(Folder, "snapshots"), recursive: true);
        File.WriteAllBytes(Path.Combine(Folder, "k2-q4.gguf"), [1]);
        Assert.That(() => Checkpoint.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("k2-q4.gguf"));
        CopyCheckpoint("tiny-int4");
        File.Delete(Path.Combine(Folder, ShardIndex.File));
        Assert.That(() => Checkpoint.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("k2-q4.gguf"));
    }

    /// <summary>Where config.json says nothing of the quantization, the tensors say it.</summary>
    [Test]
    public void INT4_with_zero_points_or_columns_in_another_order_is_refused([Values("weight_zero_point", "weight_g_idx")] string surplus)
    {
        CopyCheckpoint("tiny-int4");
        EditJson("config.json", c => c.Remove("quantization_config"));
        const string Stem = "model.layers.1.mlp.experts.3.up_proj";
        string shard;
        using (Checkpoint checkpoint = Checkpoint.Open(Folder))
        {
            Assert.That(WeightLoader.Load(checkpoint).Layers, Is.Not.Empty, "it is not needed");
            shard = checkpoint.Shards[checkpoint.Get(Stem + ".weight_packed").Shard];
        }

        string path = Path.Combine(Folder, shard);
        long data = new FileInfo(path).Length - 8 - BitConverter.ToInt64(File.ReadAllBytes(path).AsSpan(0, 8));
        EditHeader(path, h => $"{{\"{Stem}.{surplus}\":{{\"dtype\":\"I32\",\"shape\":[0],\"data_offsets\":[{data},{data}]}},{h[1..]}");
        EditJson(ShardIndex.File, index => index["weight_map"]![$"{Stem}.{surplus}"] = shard);
        using Checkpoint asymmetric = Checkpoint.Open(Folder);
        Assert.That(() => WeightLoader.Load(asymmetric), Throws.TypeOf<CheckpointException>().With.Message.Contains(surplus).And.Message.Contains("quantization is not supported"));
    }

    /// <summary>A download that still runs puts whole files in the place of others.</summary>
    [Test]
    public void A_shard_that_is_replaced_between_its_header_and_its_mapping_is_refused([Values(-1, 1)] int more)
    {
        CopyCheckpoint("tiny-int4");
        Assert.That(() => Checkpoint.Open(Folder, Replace), Throws.TypeOf<CheckpointException>().With.Message.Contains(Path.GetFileName(Shard(1))).And.Message.Contains("when its header was read"));

        void Replace(int done, int total)
        {
            if (done == total)
            {
                byte[] bytes = File.ReadAllBytes(Shard(1));
                Array.Resize(ref bytes, bytes.Length + more);
                File.Delete(Shard(1));
                File.WriteAllBytes(Shard(1), bytes);
            }
        }
    }

    [Test]
    public void Damage_of_every_kind_is_named()
    {
        Check("a shard is missing", f => File.Delete(Shard(2)), "model-00002-of-00003.safetensors", "missing");
        Check("a shard is short", f => Truncate(Shard(3), 100), "model-00003-of-00003.safetensors", "bytes");
        Check("a shard is empty", f => File.WriteAllBytes(Shard(1), []), "model-00001-of-00003.safetensors", "8 bytes");
        Check("two shards are swapped", f => Swap(Shard(1), Shard(2)), "index", "index");
        Check("no index", f => File.Delete(Path.Combine(Folder, ShardIndex.File)), "index.json", "Neither");
        Check("no config", f => File.Delete(Path.Combine(Folder, "config.json")), "config.json", "missing");
        Check("config is no JSON", f => File.WriteAllText(Path.Combine(Folder, "config.json"), "{"), "config.json", "JSON");
        Check("config is a list", f => File.WriteAllText(Path.Combine(Folder, "config.json"), "[3]"), "config.json", "config.json': Expected a JSON object, found [3]");
        Check("index leads out of the folder", f => EditJson(ShardIndex.File, c => c["weight_map"]!["model.norm.weight"] = "../x.safetensors"), "index.json", "plain name");
        Check("index lists what is not there", f => EditJson(ShardIndex.File, c => c["weight_map"]!["model.extra"] = "model-00001-of-00003.safetensors"), "model.extra", "does not hold it");
        Check("shape is not the configuration's", f => EditJson("config.json", c => c["moe_intermediate_size"] = 128), "gate_proj", "config.json");
        Check("the head is missing", f => Rename("lm_head.weight", "lm_heap.weight"), "lm_head.weight", "");
        Check("a tensor is missing", f => Rename("model.layers.1.mlp.gate.weight", "model.layers.1.mlp.gaze.weight"), "model.layers.1.mlp.gate.weight", "");
        Check("vocabulary is not the tokenizer's", f => EditJson("config.json", c => { c["vocab_size"] = 400; c["eos_token_id"] = 1; c["pad_token_id"] = 2; }), "512", "400");
    }

    [Test]
    public void An_empty_file_of_the_tokenizer_is_called_empty()
    {
        CopyCheckpoint("tiny-int4");
        File.WriteAllBytes(Path.Combine(Folder, "tiktoken.model"), []);
        Assert.That(() => KimiModel.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("tiktoken.model").And.Message.Contains("no token in the file"));
    }

    /// <summary>Hub caches keep files elsewhere and link to them.</summary>
    [Test]
    public void Folders_of_links_open()
    {
        foreach (string file in Directory.GetFiles(Repository.NanoModel))
        {
            Links.Create(Path.Combine(Folder, Path.GetFileName(file)), file);
        }

        using KimiModel model = KimiModel.Open(Folder);
        Assert.That(model.Info.LayerCount, Is.EqualTo(6));
        Assert.That(CheckpointVerifier.Verify(Folder).Problems, Is.Empty);
    }

    /// <summary>Whatever stands in the JSON files, the folder opens or is refused by a CheckpointException.</summary>
    [TestCase("config.json", 3000)]
    [TestCase("generation_config.json", 1000)]
    [TestCase("tokenizer_config.json", 1000)]
    [TestCase("tiktoken.model", 1000)]
    [TestCase(ShardIndex.File, 600)]
    [CancelAfter(60_000)]
    public Task Mutated_files_never_surprise(string file, int rounds, CancellationToken cancellationToken)
    {
        CopyCheckpoint("tiny-qproj");
        return Task.Run(() => OpenMutated(file, rounds), cancellationToken).WaitAsync(cancellationToken);
    }

    [Test]
    public void A_linear_layer_with_a_bias_is_refused()
    {
        CopyCheckpoint("tiny-qproj");
        File.Delete(Path.Combine(Folder, ShardIndex.File));
        using (Checkpoint checkpoint = Checkpoint.Open(Folder))
        {
            Assert.That(WeightLoader.Load(checkpoint).Layers, Is.Not.Empty, "a single file needs no index");
        }

        EditHeader(Path.Combine(Folder, "model.safetensors"), h => h.Replace("model.layers.1.self_attn.kv_a_layernorm.weight", "model.layers.1.self_attn.kv_a_proj_with_mqa.bias", StringComparison.Ordinal));
        using Checkpoint biased = Checkpoint.Open(Folder);
        Assert.That(() => WeightLoader.Load(biased), Throws.TypeOf<CheckpointException>().With.Message.Contains("bias"));
    }

    /// <summary>Of norms and biases one such number is enough to spoil every token, or, unnoticed, to choose other experts. A bias of -infinity alone says what it means: never this expert.</summary>
    [Test]
    public void Vectors_of_numbers_that_are_not_finite_are_refused_by_name(
        [Values("model.layers.1.mlp.gate.e_score_correction_bias", "model.layers.0.input_layernorm.weight")] string name, [Values(float.NaN, float.PositiveInfinity, float.NegativeInfinity)] float value, [Values(1, 2)] int groups)
    {
        CopyCheckpoint("tiny-qproj");
        EditJson("config.json", c => (c["n_group"], c["topk_group"]) = (groups, 1));
        bool excludes = groups == 1 && float.IsNegativeInfinity(value) && name.EndsWith("bias", StringComparison.Ordinal);
        TensorEntry entry;
        using (Checkpoint sound = Checkpoint.Open(Folder))
        {
            entry = sound.Get(name);
        }

        int bytes = entry.Type == ElementType.Float32 ? 4 : 2;
        using (FileStream stream = File.OpenWrite(Path.Combine(Folder, "model.safetensors")))
        {
            // The upper half of a single is a BF16.
            stream.Position = entry.Offset + (2 * bytes);
            stream.Write(BitConverter.GetBytes(value).AsSpan(4 - bytes));
        }

        using (Checkpoint damaged = Checkpoint.Open(Folder))
        {
            if (excludes)
            {
                Assert.That(WeightLoader.Load(damaged).Layers[1].Router!.CorrectionBias[2], Is.EqualTo(value));
            }
            else
            {
                CheckpointException error = Assert.Throws<CheckpointException>(() => WeightLoader.Load(damaged))!;
                Assert.That((error.Tensor, error.Problem), Is.EqualTo((name, FormattableString.Invariant($"Expected finite numbers, found {value} at place 2 of {entry.Shape[0]}."))));
            }
        }

        Assert.That(CheckpointVerifier.Verify(Folder).Problems.Select(p => p.Tensor), excludes ? Is.Empty : Does.Contain(name));
    }

    [Test]
    public void Embedded_and_mapped_files_are_the_same()
    {
        using Checkpoint embedded = Checkpoint.Open(KimiModel.EmbeddedFiles);
        using Checkpoint mapped = Checkpoint.Open(Repository.NanoModel);
        Assert.That(embedded.Config with { EosTokenIds = [] }, Is.EqualTo(mapped.Config with { EosTokenIds = [] }));
        Assert.That(embedded.Tensors.Keys, Is.EquivalentTo(mapped.Tensors.Keys));
        foreach ((string name, TensorEntry entry) in mapped.Tensors)
        {
            Assert.That(Bytes(embedded, embedded.Get(name)).SequenceEqual(Bytes(mapped, entry)), name);
        }
    }

    [Test]
    public void Summaries_count_parameters_and_bytes()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.NanoModel);
        CheckpointSummary summary = CheckpointSummary.Of(checkpoint);
        Assert.That(summary.Parameters / 1e6, Is.EqualTo(15.3).Within(0.05));
        Assert.That(summary.Bytes, Is.EqualTo(checkpoint.Tensors.Where(t => !t.Key.EndsWith("weight_shape", StringComparison.Ordinal)).Sum(t => t.Value.Length)));
        Assert.That(summary.CacheBytesPerToken, Is.EqualTo(2 * 6 * 80));
        using KimiModel model = KimiModel.OpenEmbedded();
        Assert.That((model.Info.ParameterCount, model.Info.WeightBytes, model.Info.ExpertFormat), Is.EqualTo((summary.Parameters, summary.Bytes, "INT4 g32")));
    }

    [Test]
    public unsafe void Disposed_checkpoints_hand_out_nothing()
    {
        Checkpoint checkpoint = Checkpoint.Open(Repository.NanoModel);
        checkpoint.Dispose();
        checkpoint.Dispose();
        Assert.That(() => (nint)checkpoint.Pointer(checkpoint.Get("model.norm.weight")), Throws.TypeOf<ObjectDisposedException>());
    }

    private static unsafe ReadOnlySpan<byte> Bytes(Checkpoint checkpoint, TensorEntry entry) => new(checkpoint.Pointer(entry), (int)entry.Length);

    private void OpenMutated(string file, int rounds)
    {
        byte[] original = File.ReadAllBytes(Path.Combine(Folder, file));
        var random = new Random(9);
        for (int round = 0; round < rounds; round++)
        {
            File.WriteAllBytes(Path.Combine(Folder, file), Mutation.Apply(original, random));
            try
            {
                KimiTokenizer.Open(Folder);
                KimiCpu.Chat.ChatTemplate.Read(new FolderCheckpointFiles(Folder));
                using Checkpoint checkpoint = Checkpoint.Open(Folder);
                WeightLoader.Load(checkpoint);
            }
            catch (CheckpointException)
            {
            }

            Assert.That(() => CheckpointVerifier.Verify(Folder), Throws.Nothing);
        }
    }

    private void Check(string what, Action<string> damage, string place, string problem)
    {
        CopyCheckpoint("tiny-int4");
        damage(Folder);
        Assert.That(() => KimiModel.Open(Folder).Dispose(), Throws.TypeOf<CheckpointException>().With.Message.Contains(place).And.Message.Contains(problem), what);
        Assert.That(CheckpointVerifier.Verify(Folder).Problems.Select(p => $"{p.File} {p.Tensor} {p.Problem}"), Has.Some.Contains(place), what);
    }

    private static void Swap(string a, string b)
    {
        File.Move(a, a + ".x");
        File.Move(b, a);
        File.Move(a + ".x", b);
    }
}
