// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Checkpoints;
using KimiCpu.Tokens;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Checkpoints;

[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class CheckpointTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

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
        KimiConfig expected = KimiConfigReader.Read(new FolderCheckpointFiles(_folder));
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
        KimiConfig actual = KimiConfigReader.Read(new FolderCheckpointFiles(_folder));
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
        Assert.That(() => Checkpoint.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains(expected).And.Message.Contains("config.json"));
    }

    [Test]
    public void Folder_of_another_model_is_not_called_a_damaged_download()
    {
        File.WriteAllText(Path.Combine(_folder, "config.json"), """{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":4096,"num_hidden_layers":32,"num_attention_heads":32,"vocab_size":32000}""");
        string message = Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder))!.Message;
        Assert.That(message, Does.Contain("LlamaForCausalLM (model_type llama)").And.Contain("Kimi K2"));
        Assert.That(message, Does.Not.Contain("Fetch"));
        VerificationReport report = CheckpointVerifier.Verify(_folder);
        Assert.That((report.Problems.Count, report.FilesToFetch.Count), Is.EqualTo((1, 0)));
    }

    [TestCase("config.json")]
    [TestCase("tiktoken.model")]
    [TestCase("model-00002-of-00003.safetensors")]
    public void Pointer_of_git_lfs_is_told_from_a_damaged_file(string file)
    {
        CopyCheckpoint("tiny-int4");
        File.WriteAllText(Path.Combine(_folder, file), $"version https://git-lfs.github.com/spec/v1\noid sha256:{new string('a', 64)}\nsize 4869235\n");
        Assert.That(() => KimiModel.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains(file).And.Message.Contains("git lfs pull"));
        if (!file.EndsWith(".model", StringComparison.Ordinal))
        {
            VerificationReport report = CheckpointVerifier.Verify(_folder);
            Assert.That(report.Problems, Has.Some.Property(nameof(VerificationProblem.Remedy)).Contains("git lfs pull"));
            Assert.That(report.FilesToFetch, Is.Empty);
        }
    }

    /// <summary>Who catches what the library throws need not know of checkpoints.</summary>
    [Test]
    public void A_folder_that_is_not_there_is_an_error_of_the_library() =>
        Assert.That(() => KimiModel.Open(Path.Combine(_folder, "none")), Throws.InstanceOf<KimiException>().And.TypeOf<CheckpointException>());

    [Test]
    public void File_in_place_of_a_folder_is_refused()
    {
        string file = Path.Combine(_folder, "model.gguf");
        File.WriteAllBytes(file, [1]);
        Assert.That(() => Checkpoint.Open(file), Throws.TypeOf<CheckpointException>().With.Message.Contains("found a file"));
    }

    [Test]
    public void Folders_with_something_else_in_them_are_told_from_incomplete_downloads()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "snapshots", "abc"));
        Assert.That(() => Checkpoint.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("below 'snapshots'"));
        Directory.Delete(Path.Combine(_folder, "snapshots"), recursive: true);
        File.WriteAllBytes(Path.Combine(_folder, "k2-q4.gguf"), [1]);
        Assert.That(() => Checkpoint.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("k2-q4.gguf"));
        CopyCheckpoint("tiny-int4");
        File.Delete(Path.Combine(_folder, ShardIndex.File));
        Assert.That(() => Checkpoint.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("k2-q4.gguf"));
    }

    /// <summary>The advice of opening is the verifier's too, and nothing of a checkpoint is to be fetched into such a folder.</summary>
    [Test]
    public void The_verifier_has_nothing_fetched_into_a_folder_of_something_else()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "snapshots", "abc"));
        VerificationReport cache = CheckpointVerifier.Verify(_folder);
        Assert.That(cache.Problems.Single().Remedy, Does.Contain("below 'snapshots'"));
        Assert.That(cache.FilesToFetch, Is.Empty);
        Directory.Delete(Path.Combine(_folder, "snapshots"), recursive: true);
        File.WriteAllBytes(Path.Combine(_folder, "k2-q4.gguf"), [1]);
        VerificationReport other = CheckpointVerifier.Verify(_folder);
        Assert.That(other.Problems.Single().Remedy, Does.Contain("k2-q4.gguf"));
        Assert.That(other.FilesToFetch, Is.Empty);

        CopyCheckpoint("tiny-int4");
        File.Delete(Path.Combine(_folder, ShardIndex.File));
        Assert.That(CheckpointVerifier.Verify(_folder).FilesToFetch, Is.EqualTo(new[] { ShardIndex.File }), "a download has begun");
    }

    /// <summary>Shards that agree with their headers and the index would be no others if hundreds of gigabytes were fetched again.</summary>
    [Test]
    public void Whole_shards_are_not_to_be_fetched_where_the_configuration_is_of_another_model()
    {
        CopyCheckpoint("tiny-int4");
        EditJson("config.json", c => c["moe_intermediate_size"] = 128);
        VerificationReport shapes = CheckpointVerifier.Verify(_folder);
        Assert.That(shapes.FilesToFetch, Is.Empty);
        Assert.That(shapes.Problems, Is.Not.Empty.And.All.Property(nameof(VerificationProblem.Remedy)).Contains("config.json and weights do not belong together"));

        CopyCheckpoint("tiny-int4");
        Rename("model.layers.1.mlp.gate.weight", "model.layers.1.mlp.gaze.weight");
        VerificationReport names = CheckpointVerifier.Verify(_folder);
        Assert.That(names.FilesToFetch, Is.Empty);
        Assert.That(names.Problems.Single().File, Is.EqualTo(ShardIndex.File));
    }

    [Test]
    public void A_single_file_that_lacks_a_tensor_is_named_and_no_index_that_never_was()
    {
        CopyCheckpoint("tiny-qproj");
        File.Delete(Path.Combine(_folder, ShardIndex.File));
        Rename("model.norm.weight", "model.nora.weight");
        VerificationReport report = CheckpointVerifier.Verify(_folder);
        Assert.That(report.Problems.Single().File, Is.EqualTo(ShardIndex.SingleFile));
        Assert.That(report.FilesToFetch, Is.Empty);
    }

    /// <summary>Where config.json says nothing of the quantization, the tensors say it.</summary>
    [Test]
    public void INT4_with_zero_points_or_columns_in_another_order_is_refused([Values("weight_zero_point", "weight_g_idx")] string surplus)
    {
        CopyCheckpoint("tiny-int4");
        EditJson("config.json", c => c.Remove("quantization_config"));
        const string Stem = "model.layers.1.mlp.experts.3.up_proj";
        string shard;
        using (Checkpoint checkpoint = Checkpoint.Open(_folder))
        {
            Assert.That(WeightLoader.Load(checkpoint).Layers, Is.Not.Empty, "it is not needed");
            shard = checkpoint.Shards[checkpoint.Get(Stem + ".weight_packed").Shard];
        }

        string path = Path.Combine(_folder, shard);
        long data = new FileInfo(path).Length - 8 - BitConverter.ToInt64(File.ReadAllBytes(path).AsSpan(0, 8));
        EditHeader(path, h => $"{{\"{Stem}.{surplus}\":{{\"dtype\":\"I32\",\"shape\":[0],\"data_offsets\":[{data},{data}]}},{h[1..]}");
        EditJson(ShardIndex.File, index => index["weight_map"]![$"{Stem}.{surplus}"] = shard);
        using Checkpoint asymmetric = Checkpoint.Open(_folder);
        Assert.That(() => WeightLoader.Load(asymmetric), Throws.TypeOf<CheckpointException>().With.Message.Contains(surplus).And.Message.Contains("quantization is not supported"));
    }

    /// <summary>A download that still runs puts whole files in the place of others.</summary>
    [Test]
    public void A_shard_that_is_replaced_between_its_header_and_its_mapping_is_refused([Values(-1, 1)] int more)
    {
        CopyCheckpoint("tiny-int4");
        Assert.That(() => Checkpoint.Open(_folder, Replace), Throws.TypeOf<CheckpointException>().With.Message.Contains(Path.GetFileName(Shard(1))).And.Message.Contains("when its header was read"));

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
        Check("no index", f => File.Delete(Path.Combine(_folder, ShardIndex.File)), "index.json", "Neither");
        Check("no config", f => File.Delete(Path.Combine(_folder, "config.json")), "config.json", "missing");
        Check("config is no JSON", f => File.WriteAllText(Path.Combine(_folder, "config.json"), "{"), "config.json", "JSON");
        Check("config is a list", f => File.WriteAllText(Path.Combine(_folder, "config.json"), "[3]"), "config.json", "config.json': Expected a JSON object, found [3]");
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
        File.WriteAllBytes(Path.Combine(_folder, "tiktoken.model"), []);
        Assert.That(() => KimiModel.Open(_folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("tiktoken.model").And.Message.Contains("no token in the file"));
    }

    /// <summary>A number of a shard is one of the digits 0 to 9, and no other name is one.</summary>
    [Test]
    public void Shards_with_other_digits_are_names_like_others()
    {
        CopyCheckpoint("tiny-int4");
        RenameShard(1, "model-٠٠٠٠١-of-٠٠٠٠٣.safetensors");
        using (KimiModel.Open(_folder))
        {
        }

        Assert.That(CheckpointVerifier.Verify(_folder).Problems.Select(p => p.Problem), Is.EqualTo(new[] { "Shard 1 of 3 is not listed." }));
    }

    /// <summary>Hub caches keep files elsewhere and link to them.</summary>
    [Test]
    public void Folders_of_links_open()
    {
        foreach (string file in Directory.GetFiles(Repository.NanoModel))
        {
            File.CreateSymbolicLink(Path.Combine(_folder, Path.GetFileName(file)), file);
        }

        using KimiModel model = KimiModel.Open(_folder);
        Assert.That(model.Info.LayerCount, Is.EqualTo(6));
        Assert.That(CheckpointVerifier.Verify(_folder).Problems, Is.Empty);
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
    public void The_verifier_lists_all_problems_at_once()
    {
        CopyCheckpoint("tiny-int4");
        File.Delete(Shard(2));
        Truncate(Shard(3), 10);
        File.Delete(Path.Combine(_folder, "tiktoken.model"));
        VerificationReport report = CheckpointVerifier.Verify(_folder);
        Assert.That(report.FilesToFetch, Is.EquivalentTo(new[] { "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "tiktoken.model" }));
    }

    /// <summary>The releases write numbers in three ways.</summary>
    [TestCase("model-{0}-of-3.safetensors")]
    [TestCase("model-{0:D5}-of-00003.safetensors")]
    [TestCase("model-{0:D5}-of-000003.safetensors")]
    public void A_shard_that_the_index_does_not_list_is_named_by_its_number(string style)
    {
        CopyCheckpoint("tiny-int4");
        for (int shard = 1; shard <= 3; shard++)
        {
            RenameShard(shard, string.Format(CultureInfo.InvariantCulture, style, shard));
        }

        Assert.That(CheckpointVerifier.Verify(_folder).Problems, Is.Empty);
        string last = string.Format(CultureInfo.InvariantCulture, style, 3);
        EditJson(ShardIndex.File, index =>
        {
            JsonObject map = index["weight_map"]!.AsObject();
            foreach (string tensor in map.Where(p => p.Value!.GetValue<string>() == last).Select(p => p.Key).ToArray())
            {
                map.Remove(tensor);
            }
        });
        Assert.That(CheckpointVerifier.Verify(_folder).Problems.Select(p => (p.File, p.Problem)), Is.EqualTo(new[] { (ShardIndex.File, "Shard 3 of 3 is not listed.") }));
    }

    [Test]
    [CancelAfter(60_000)]
    public void A_shard_of_absurdly_many_is_no_list_without_end([Values("99999", "999999999")] string count, CancellationToken cancellationToken)
    {
        CopyCheckpoint("tiny-int4");
        RenameShard(1, $"model-00001-of-{count}.safetensors");
        Assert.That(CheckpointVerifier.Verify(_folder, null, cancellationToken).Problems, Has.Count.EqualTo(100));
    }

    /// <summary>Those of a checkpoint are all named.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Absurdly_many_missing_shards_are_no_list_without_end(CancellationToken cancellationToken)
    {
        CopyCheckpoint("tiny-int4");
        EditJson(ShardIndex.File, index => index["weight_map"] = new JsonObject(Enumerable.Range(0, 10_100).Select(i => KeyValuePair.Create<string, JsonNode?>($"t{i}", $"{i}.safetensors"))));
        VerificationReport report = CheckpointVerifier.Verify(_folder, null, cancellationToken);
        Assert.That(report.FilesToFetch, Has.Count.EqualTo(10_000));
        Assert.That((report.Problems[^1].File, report.Problems[^1].Problem), Is.EqualTo((ShardIndex.File, "The index lists 100 more shards that are missing.")));
    }

    [Test]
    public void Every_shape_that_is_written_out_is_compared_and_told_of()
    {
        CopyCheckpoint("tiny-int4");
        const string Tensor = "model.layers.1.mlp.experts.3.up_proj.weight_shape";
        using (Checkpoint checkpoint = Checkpoint.Open(_folder))
        {
            TensorEntry entry = checkpoint.Get(Tensor);
            using var stream = new FileStream(Path.Combine(_folder, checkpoint.Shards[entry.Shard]), FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            stream.Position = entry.Offset;
            stream.WriteByte(77);
        }

        var steps = new List<(string Phase, int Done, int Total)>();
        VerificationProblem problem = CheckpointVerifier.Verify(_folder, (phase, done, total) => steps.Add((phase, done, total))).Problems.Single();
        Assert.That(problem.Tensor, Is.EqualTo(Tensor));
        Assert.That(problem.Problem, Does.StartWith("Expected the shape (").And.Contain("found (77, "));
        Assert.That(problem.Remedy, Is.Null, "data may be damaged, and the shard is to be fetched again");
        Assert.That(steps.Where(s => s.Phase == "shard"), Is.EqualTo(Enumerable.Range(1, 3).Select(i => ("shard", i, 3))));
        Assert.That(steps.Where(s => s.Phase != "shard").Select(s => (s.Done, s.Total)), Is.EqualTo(new[] { (2, 3), (3, 3) }), "the first has none");
    }

    [Test]
    public void Verifying_can_be_cancelled_after_the_last_header()
    {
        using var source = new CancellationTokenSource();
        string last = "";
        Assert.That(
            () => CheckpointVerifier.Verify(Repository.Checkpoint("tiny-int4"), Cancel, source.Token),
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(last, Is.EqualTo("shard"));

        using var later = new CancellationTokenSource();
        Assert.That(
            () => CheckpointVerifier.Verify(Repository.Checkpoint("tiny-int4"), (phase, _, _) => CancelAt(phase != "shard", later), later.Token),
            Throws.InstanceOf<OperationCanceledException>());

        void Cancel(string phase, int done, int total)
        {
            last = phase;
            CancelAt(done == total, source);
        }

        static void CancelAt(bool now, CancellationTokenSource source)
        {
            if (now)
            {
                source.Cancel();
            }
        }
    }

    /// <summary>Fetching another file again would change nothing.</summary>
    [TestCase("tiny-int4")]
    [TestCase("tiny-k25")]
    public void An_end_of_text_beyond_the_vocabulary_is_of_the_file_that_names_it(string name)
    {
        CopyCheckpoint(name);
        EditJson("generation_config.json", c => c["eos_token_id"] = new JsonArray(1, 512));
        VerificationReport report = CheckpointVerifier.Verify(_folder);
        Assert.That(report.FilesToFetch, Is.EqualTo(new[] { "generation_config.json" }));
        Assert.That(report.Problems.Single().Tensor, Is.EqualTo("eos_token_id"));
    }

    [Test]
    public void A_linear_layer_with_a_bias_is_refused()
    {
        CopyCheckpoint("tiny-qproj");
        File.Delete(Path.Combine(_folder, ShardIndex.File));
        using (Checkpoint checkpoint = Checkpoint.Open(_folder))
        {
            Assert.That(WeightLoader.Load(checkpoint).Layers, Is.Not.Empty, "a single file needs no index");
        }

        EditHeader(Path.Combine(_folder, "model.safetensors"), h => h.Replace("model.layers.1.self_attn.kv_a_layernorm.weight", "model.layers.1.self_attn.kv_a_proj_with_mqa.bias", StringComparison.Ordinal));
        using Checkpoint biased = Checkpoint.Open(_folder);
        Assert.That(() => WeightLoader.Load(biased), Throws.TypeOf<CheckpointException>().With.Message.Contains("bias"));
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
        byte[] original = File.ReadAllBytes(Path.Combine(_folder, file));
        var random = new Random(9);
        for (int round = 0; round < rounds; round++)
        {
            File.WriteAllBytes(Path.Combine(_folder, file), Mutation.Apply(original, random));
            try
            {
                KimiTokenizer.Open(_folder);
                KimiCpu.Chat.ChatTemplate.Read(new FolderCheckpointFiles(_folder));
                using Checkpoint checkpoint = Checkpoint.Open(_folder);
                WeightLoader.Load(checkpoint);
            }
            catch (CheckpointException)
            {
            }

            Assert.That(() => CheckpointVerifier.Verify(_folder), Throws.Nothing);
        }
    }

    private void Check(string what, Action<string> damage, string place, string problem)
    {
        CopyCheckpoint("tiny-int4");
        damage(_folder);
        Assert.That(() => KimiModel.Open(_folder).Dispose(), Throws.TypeOf<CheckpointException>().With.Message.Contains(place).And.Message.Contains(problem), what);
        Assert.That(CheckpointVerifier.Verify(_folder).Problems.Select(p => $"{p.File} {p.Tensor} {p.Problem}"), Has.Some.Contains(place), what);
    }

    /// <summary>A tensor, in the shards and in the index.</summary>
    private void Rename(string name, string other)
    {
        foreach (string file in Directory.GetFiles(_folder, "*.safetensors*"))
        {
            File.WriteAllText(file, File.ReadAllText(file, Encoding.Latin1).Replace(name, other, StringComparison.Ordinal), Encoding.Latin1);
        }
    }

    /// <summary>A shard, in the folder and in the index.</summary>
    private void RenameShard(int number, string name)
    {
        File.Move(Shard(number), Path.Combine(_folder, name), overwrite: true);
        string index = Path.Combine(_folder, ShardIndex.File);
        File.WriteAllText(index, File.ReadAllText(index).Replace(Path.GetFileName(Shard(number)), name, StringComparison.Ordinal));
    }

    private string Shard(int number) => Path.Combine(_folder, $"model-{number:D5}-of-00003.safetensors");

    private void CopyCheckpoint(string name)
    {
        foreach (string file in Directory.GetFiles(Repository.Checkpoint(name)))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)), overwrite: true);
        }
    }

    private void EditJson(string file, Action<JsonObject> edit)
    {
        string path = Path.Combine(_folder, file);
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        edit(json);
        File.WriteAllText(path, json.ToJsonString());
    }

    private static void EditHeader(string file, Func<string, string> edit)
    {
        byte[] bytes = File.ReadAllBytes(file);
        int length = (int)BitConverter.ToInt64(bytes);
        byte[] header = System.Text.Encoding.UTF8.GetBytes(edit(System.Text.Encoding.UTF8.GetString(bytes, 8, length)));
        File.WriteAllBytes(file, [.. BitConverter.GetBytes((long)header.Length), .. header, .. bytes.AsSpan(8 + length)]);
    }

    private static void Truncate(string file, int less)
    {
        using FileStream stream = File.OpenWrite(file);
        stream.SetLength(stream.Length - less);
    }

    private static void Swap(string a, string b)
    {
        File.Move(a, a + ".x");
        File.Move(b, a);
        File.Move(a + ".x", b);
    }
}
