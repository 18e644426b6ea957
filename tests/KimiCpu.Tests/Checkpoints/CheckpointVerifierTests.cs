// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Runtime.Versioning;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Hosting;
using KimiCpu.Planning;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>What <c>kimi verify</c> finds without reading the weights.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class CheckpointVerifierTests : CheckpointFixture
{
    /// <summary>The advice of opening is the verifier's too, and nothing of a checkpoint is to be fetched into such a folder.</summary>
    [Test]
    public void The_verifier_has_nothing_fetched_into_aFolder_of_something_else()
    {
        Directory.CreateDirectory(Path.Combine(Folder, "snapshots", "abc"));
        VerificationReport cache = CheckpointVerifier.Verify(Folder);
        Assert.That(cache.Problems.Single().Remedy, Does.Contain("below 'snapshots'"));
        Assert.That(cache.FilesToFetch, Is.Empty);
        Directory.Delete(Path.Combine(Folder, "snapshots"), recursive: true);
        File.WriteAllBytes(Path.Combine(Folder, "k2-q4.gguf"), [1]);
        VerificationReport other = CheckpointVerifier.Verify(Folder);
        Assert.That(other.Problems.Single().Remedy, Does.Contain("k2-q4.gguf"));
        Assert.That(other.FilesToFetch, Is.Empty);

        CopyCheckpoint("tiny-int4");
        File.Delete(Path.Combine(Folder, ShardIndex.File));
        Assert.That(CheckpointVerifier.Verify(Folder).FilesToFetch, Is.EqualTo(new[] { ShardIndex.File }), "a download has begun");
    }

    /// <summary>Shards that agree with their headers and the index would be no others if hundreds of gigabytes were fetched again.</summary>
    [Test]
    public void Whole_shards_are_not_to_be_fetched_where_the_configuration_is_of_another_model()
    {
        CopyCheckpoint("tiny-int4");
        EditJson("config.json", c => c["moe_intermediate_size"] = 128);
        VerificationReport shapes = CheckpointVerifier.Verify(Folder);
        Assert.That(shapes.FilesToFetch, Is.Empty);
        Assert.That(shapes.Problems, Is.Not.Empty.And.All.Property(nameof(VerificationProblem.Remedy)).Contains("config.json and weights do not belong together"));

        CopyCheckpoint("tiny-int4");
        Rename("model.layers.1.mlp.gate.weight", "model.layers.1.mlp.gaze.weight");
        VerificationReport names = CheckpointVerifier.Verify(Folder);
        Assert.That(names.FilesToFetch, Is.Empty);
        Assert.That(names.Problems.Single().File, Is.EqualTo(ShardIndex.File));
    }

    [Test]
    public void A_single_file_that_lacks_a_tensor_is_named_and_no_index_that_never_was()
    {
        CopyCheckpoint("tiny-qproj");
        File.Delete(Path.Combine(Folder, ShardIndex.File));
        Rename("model.norm.weight", "model.nora.weight");
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.Problems.Single().File, Is.EqualTo(ShardIndex.SingleFile));
        Assert.That(report.FilesToFetch, Is.Empty);
    }

    /// <summary>A number of a shard is one of the digits 0 to 9, and no other name is one.</summary>
    [Test]
    public void Shards_with_other_digits_are_names_like_others()
    {
        CopyCheckpoint("tiny-int4");
        RenameShard(1, "model-٠٠٠٠١-of-٠٠٠٠٣.safetensors");
        using (KimiModel.Open(Folder))
        {
        }

        Assert.That(CheckpointVerifier.Verify(Folder).Problems.Select(p => p.Problem), Is.EqualTo(new[] { "Shard 1 of 3 is not listed." }));
    }

    /// <summary>A checkpoint is a download of hundreds of gigabytes.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "Rights are others there.")]
    [UnsupportedOSPlatform("windows")]
    public void A_folder_that_may_not_be_listed_is_no_folder_without_files()
    {
        CopyCheckpoint("tiny-int4");
        UnixFileMode mode = File.GetUnixFileMode(Folder);
        File.SetUnixFileMode(Folder, UnixFileMode.None);
        try
        {
            Unprivileged.Run(Folder, () => Assert.That(() => CheckpointVerifier.Verify(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("Check the drive and the permissions.")));
            Unprivileged.Run(Folder, () => Assert.That(() => Checkpoint.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("Check the drive and the permissions.")));
        }
        finally
        {
            File.SetUnixFileMode(Folder, mode);
        }
    }

    /// <summary>As one whose files were given the rights of files, and it, too: they can be listed, and none of them be looked at.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "Rights are others there.")]
    [UnsupportedOSPlatform("windows")]
    public void Files_that_may_not_be_looked_at_are_not_missing()
    {
        CopyCheckpoint("tiny-int4");
        string inner = Directory.CreateDirectory(Path.Combine(Folder, "inner")).FullName;

        // Loads what nobody else could, where these tests lie below a closed folder.
        _ = ChatTemplate.Read(new FolderCheckpointFiles(Folder));
        UnixFileMode mode = File.GetUnixFileMode(Folder);
        File.SetUnixFileMode(Folder, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        try
        {
            Unprivileged.Run(inner, () =>
            {
                VerificationReport report = CheckpointVerifier.Verify(Folder);
                Assert.That(report.FilesToFetch, Is.Empty);
                Assert.That(report.Problems.Select(p => p.File), Is.EqualTo(new[] { "config.json", "tiktoken.model", "tokenizer_config.json", ShardIndex.File }));
                Assert.That(report.Problems, Is.All.Property(nameof(VerificationProblem.IsUnreadable)).True.And.All.Property(nameof(VerificationProblem.Problem)).StartsWith("The file cannot be read: "));
                Assert.That(() => Checkpoint.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("Check the drive and the permissions."));
                Assert.That(() => ChatTemplate.Read(new FolderCheckpointFiles(Folder)), Throws.TypeOf<CheckpointException>(), "no doubt about what the release has");
            });
        }
        finally
        {
            File.SetUnixFileMode(Folder, mode);
        }
    }

    /// <summary>As one below the home of another user, for a service, and one on a share that has gone.</summary>
    [TestCase("K2")]
    [TestCase("link")]
    [Platform(Exclude = "Win", Reason = "Rights are others there.")]
    [UnsupportedOSPlatform("windows")]
    public void A_folder_that_may_not_be_looked_at_is_not_said_not_to_exist(string name)
    {
        string home = Path.Combine(Folder, "home");
        string model = Directory.CreateDirectory(Path.Combine(home, "K2")).FullName;
        string link = Path.Combine(Folder, "link");
        Directory.CreateSymbolicLink(link, model);
        string path = name == "link" ? link : model;
        var validator = new KimiOptionsValidator("", "Kimi");

        // Loads what nobody else could, where these tests lie below a closed folder.
        Assert.That(validator.Validate("", new KimiOptions { ModelPath = path }).Succeeded);
        Assert.That(() => PlanSubject.Open(Path.Combine(Folder, "none")), Throws.ArgumentException);
        File.SetUnixFileMode(Folder, Unprivileged.Everybody);
        File.SetUnixFileMode(home, UnixFileMode.None);
        try
        {
            Unprivileged.Run(home, () =>
            {
                AssertIsTold(() => CheckpointVerifier.Verify(path));
                AssertIsTold(() => PlanSubject.Open(path));
                Assert.That(validator.Validate("", new KimiOptions { ModelPath = path }).Succeeded);
            });
        }
        finally
        {
            File.SetUnixFileMode(home, Unprivileged.Everybody);
        }

        void AssertIsTold(Action act) =>
            Assert.That(act, Throws.TypeOf<CheckpointException>().With.Message.StartsWith($"'{path}': The folder cannot be read: ").And.Message.Contains("Check the drive and the permissions."));
    }

    [Test]
    public void A_link_that_leads_nowhere_is_no_folder_of_a_model()
    {
        string link = Path.Combine(Folder, "link");
        Links.Create(link, Path.Combine(Folder, "nowhere"));
        Assert.That(() => CheckpointVerifier.Verify(link), Throws.TypeOf<CheckpointException>().With.Message.Contains("The folder does not exist."));
        Assert.That(() => CheckpointVerifier.Verify(""), Throws.TypeOf<CheckpointException>().With.Message.Contains("The folder does not exist."));
    }

    [Test]
    public void The_verifier_lists_all_problems_at_once()
    {
        CopyCheckpoint("tiny-int4");
        File.Delete(Shard(2));
        Truncate(Shard(3), 10);
        File.Delete(Path.Combine(Folder, "tiktoken.model"));
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.FilesToFetch, Is.EquivalentTo(new[] { "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "tiktoken.model" }));
    }

    /// <summary>As DeepSeek's releases have it, and what transformers 5 saves: to be fetched there is nothing.</summary>
    [Test]
    public void A_tokenizer_of_another_kind_is_told_and_the_file_that_the_release_has_not_is_not_to_be_fetched()
    {
        CopyCheckpoint("tiny-int4");
        File.Delete(Path.Combine(Folder, "tiktoken.model"));
        Assert.That(CheckpointVerifier.Verify(Folder).FilesToFetch, Is.EqualTo(new[] { "tiktoken.model" }));
        File.WriteAllText(Path.Combine(Folder, "tokenizer.json"), "{}");
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.Problems.Single().Remedy, Does.StartWith("The folder has 'tokenizer.json' instead").And.Contain("take tiktoken.model and tokenizer_config.json from that release"));
        Assert.That(report.FilesToFetch, Is.Empty);
        Assert.That(() => KimiTokenizer.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains("'tokenizer.json' instead").And.Message.Not.Contains("Download"));

        File.Copy(Path.Combine(Repository.Checkpoint("tiny-int4"), "tiktoken.model"), Path.Combine(Folder, "tiktoken.model"));
        EditJson("tokenizer_config.json", c => c.Remove("added_tokens_decoder"));
        CheckpointException names = Assert.Throws<CheckpointException>(() => KimiTokenizer.Open(Folder))!;
        Assert.That(names.Message, Does.Contain("'added_tokens_decoder'").And.Contain("from the release").And.Not.Contain("Fetch"));
        Assert.That(VerificationProblem.Of(names).Remedy, Is.Not.Null);
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

        Assert.That(CheckpointVerifier.Verify(Folder).Problems, Is.Empty);
        string last = string.Format(CultureInfo.InvariantCulture, style, 3);
        EditJson(ShardIndex.File, index =>
        {
            JsonObject map = index["weight_map"]!.AsObject();
            foreach (string tensor in map.Where(p => p.Value!.GetValue<string>() == last).Select(p => p.Key).ToArray())
            {
                map.Remove(tensor);
            }
        });
        Assert.That(CheckpointVerifier.Verify(Folder).Problems.Select(p => (p.File, p.Problem)), Is.EqualTo(new[] { (ShardIndex.File, "Shard 3 of 3 is not listed.") }));
    }

    [Test]
    [CancelAfter(60_000)]
    public void A_shard_of_absurdly_many_is_no_list_without_end([Values("99999", "999999999")] string count, CancellationToken cancellationToken)
    {
        CopyCheckpoint("tiny-int4");
        RenameShard(1, $"model-00001-of-{count}.safetensors");
        Assert.That(CheckpointVerifier.Verify(Folder, null, cancellationToken).Problems, Has.Count.EqualTo(100));
    }

    /// <summary>Those of a checkpoint are all named.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Absurdly_many_missing_shards_are_no_list_without_end(CancellationToken cancellationToken)
    {
        CopyCheckpoint("tiny-int4");
        EditJson(ShardIndex.File, index => index["weight_map"] = new JsonObject(Enumerable.Range(0, 10_100).Select(i => KeyValuePair.Create<string, JsonNode?>($"t{i}", $"{i}.safetensors"))));
        VerificationReport report = CheckpointVerifier.Verify(Folder, null, cancellationToken);
        Assert.That(report.FilesToFetch, Has.Count.EqualTo(10_000));
        Assert.That((report.Problems[^1].File, report.Problems[^1].Problem), Is.EqualTo((ShardIndex.File, "The index lists 100 more shards that are missing.")));
    }

    /// <summary>As where a download was given the wrong name: to fetch the index again would change nothing.</summary>
    [Test]
    public void A_shard_that_is_another_one_is_to_be_fetched_and_an_index_of_others_is()
    {
        CopyCheckpoint("tiny-int4");
        File.Copy(Shard(2), Shard(3), overwrite: true);
        VerificationReport other = CheckpointVerifier.Verify(Folder);
        Assert.That(other.FilesToFetch, Is.EqualTo(new[] { Path.GetFileName(Shard(3)) }));
        Assert.That(other.Problems.Select(p => (p.Tensor, p.Remedy)), Is.EqualTo(new[] { ((string?)null, (string?)null) }), "no line has the index fetched");
        CopyCheckpoint("tiny-int4");
        string first = Path.Combine(Folder, "first");
        File.Move(Shard(1), first);
        File.Move(Shard(2), Shard(1));
        File.Move(Shard(3), Shard(2));
        File.Move(first, Shard(3));
        Assert.That(CheckpointVerifier.Verify(Folder).FilesToFetch, Is.EqualTo(new[] { ShardIndex.File }));
    }

    /// <summary>As of a download that has just begun: what has not come yet agrees with nothing.</summary>
    [Test]
    public void An_index_that_agrees_with_no_shard_that_is_there_is_to_be_fetched_before_them()
    {
        CopyCheckpoint("tiny-int4");
        File.Copy(Shard(2), Shard(1), overwrite: true);
        File.Delete(Shard(2));
        Truncate(Shard(3), 10);
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.FilesToFetch, Is.EqualTo(new[] { Path.GetFileName(Shard(2)), Path.GetFileName(Shard(3)), ShardIndex.File }));
        Assert.That(report.Problems.Single(p => p.File == ShardIndex.File).Problem, Is.EqualTo("It differs from the headers of 1 of 1 shards."));
    }

    /// <summary>An index of another revision would hardly agree with all tensors of any.</summary>
    [Test]
    public void One_shard_that_agrees_speaks_for_the_index_against_one_that_does_not()
    {
        CopyCheckpoint("tiny-int4");
        File.Copy(Shard(2), Shard(1), overwrite: true);
        File.Delete(Shard(3));
        Assert.That(CheckpointVerifier.Verify(Folder).FilesToFetch, Is.EquivalentTo(new[] { Path.GetFileName(Shard(1)), Path.GetFileName(Shard(3)) }));
    }

    [Test]
    public void Every_shape_that_is_written_out_is_compared_and_told_of()
    {
        CopyCheckpoint("tiny-int4");
        const string Tensor = "model.layers.1.mlp.experts.3.up_proj.weight_shape";
        TensorEntry entry;
        string shard;
        using (Checkpoint checkpoint = Checkpoint.Open(Folder))
        {
            entry = checkpoint.Get(Tensor);
            shard = Path.Combine(Folder, checkpoint.Shards[entry.Shard]);
        }

        using (FileStream stream = File.OpenWrite(shard))
        {
            stream.Position = entry.Offset;
            stream.WriteByte(77);
        }

        var steps = new List<(string Phase, int Done, int Total)>();
        VerificationProblem problem = CheckpointVerifier.Verify(Folder, (phase, done, total) => steps.Add((phase, done, total))).Problems.Single();
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
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.FilesToFetch, Is.EqualTo(new[] { "generation_config.json" }));
        Assert.That(report.Problems.Single().Tensor, Is.EqualTo("eos_token_id"));
    }

    /// <summary>One is 8 MB, and the other would be no other: a shard's header agrees with its length.</summary>
    [Test]
    public void A_name_that_differs_is_fetched_with_the_index_first()
    {
        CopyCheckpoint("tiny-int4");
        string index = Path.Combine(Folder, ShardIndex.File);
        File.WriteAllText(index, File.ReadAllText(index).Replace("model.norm.weight", "model.nora.weight", StringComparison.Ordinal));
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.FilesToFetch, Is.EqualTo(new[] { ShardIndex.File }));
        Assert.That(report.Problems.Select(p => p.Tensor), Is.EquivalentTo(new[] { "model.norm.weight", "model.nora.weight", null }));
        Assert.That(report.Problems.Single(p => p.Tensor is null).Problem, Is.EqualTo("It differs from the headers of 1 of 3 shards."));
        Assert.That(report.Problems.Where(p => p.Tensor is not null), Has.All.Property(nameof(VerificationProblem.Remedy)).Contains("this shard only if that changes nothing"));
        Assert.That(() => Checkpoint.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains($"Delete {ShardIndex.File} and fetch it again"));
        Assert.That(() => RepackSource.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains($"Delete {ShardIndex.File} and fetch it again"));
    }

    /// <summary>As some programs that write checkpoints count.</summary>
    [Test]
    public void Shards_that_are_counted_from_0_are_all_there()
    {
        CopyCheckpoint("tiny-int4");
        for (int shard = 1; shard <= 3; shard++)
        {
            RenameShard(shard, $"model-{shard - 1:D5}-of-00003.safetensors");
        }

        Assert.That(CheckpointVerifier.Verify(Folder).Problems, Is.Empty);
        RenameShard(2, "model-00002-of-00004.safetensors");
        Assert.That(CheckpointVerifier.Verify(Folder).Problems.Select(p => p.Problem), Does.Contain("Shard 2 of 3 is not listed."));
    }

    /// <summary>aria2 reserves all of a file and writes its pieces where they belong: there are zeros between them, and nothing tells but the notes beside it.</summary>
    [TestCase("model-00002-of-00003.safetensors")]
    [TestCase("tiktoken.model")]
    public void A_download_that_aria2_has_not_ended_is_not_whole(string file)
    {
        CopyCheckpoint("tiny-fp8");
        File.WriteAllBytes(Path.Combine(Folder, file + ".aria2"), [1]);
        Assert.That(() => KimiModel.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains($"'{file}.aria2' beside it"));
        Assert.That(() => RepackSource.Open(Folder), Throws.TypeOf<CheckpointException>().With.Message.Contains($"'{file}.aria2' beside it"));
        if (file.EndsWith(".safetensors", StringComparison.Ordinal))
        {
            VerificationReport report = CheckpointVerifier.Verify(Folder);
            Assert.That(report.Problems.Single().File, Is.EqualTo(file));
            Assert.That(report.FilesToFetch, Is.Empty, "aria2 goes on with it");
        }
    }

    /// <summary>It says nothing yet of another family, whose files alone nobody misses here.</summary>
    [TestCase("config.json")]
    [TestCase("generation_config.json")]
    public void What_else_is_missing_is_told_where_aria2_has_not_ended_the_configuration(string file)
    {
        CopyCheckpoint("tiny-fp8");
        File.WriteAllBytes(Path.Combine(Folder, file + ".aria2"), [1]);
        File.Delete(Shard(2));
        File.Delete(Path.Combine(Folder, "tiktoken.model"));
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.Problems.Select(p => p.File), Is.EquivalentTo(new[] { file, Path.GetFileName(Shard(2)), "tiktoken.model" }));
        Assert.That(report.Problems.Single(p => p.File == file).Remedy, Does.StartWith("Let aria2 go on with it"));
        Assert.That(report.FilesToFetch, Is.EqualTo(new[] { Path.GetFileName(Shard(2)), "tiktoken.model" }));

        EditJson("config.json", c => c["scoring_func"] = "softmax");
        File.Delete(Path.Combine(Folder, file + ".aria2"));
        Assert.That(CheckpointVerifier.Verify(Folder).Problems.Select(p => p.Tensor), Is.EqualTo(new[] { "scoring_func" }), "another family");
    }

    /// <summary>It is as it was published.</summary>
    [TestCase("F8_E8M0", true)]
    [TestCase("F8_E8M1", false)]
    public void A_type_that_is_not_read_is_no_damage_where_the_format_knows_it(string type, bool isKnown)
    {
        CopyCheckpoint("tiny-bf16");
        EditHeader(Shard(2), header => header.Replace("\"BF16\"", $"\"{type}\"", StringComparison.Ordinal));
        VerificationReport report = CheckpointVerifier.Verify(Folder);
        Assert.That(report.Problems.Single().Problem, Does.Contain($"'{type}'"));
        Assert.That(report.FilesToFetch, Is.EqualTo(isKnown ? [] : new[] { Path.GetFileName(Shard(2)) }));
    }
}
