// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Versioning;
using KimiCpu.Checkpoints;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Checkpoints.Repack;

/// <summary>Repacked checkpoints hold what their source holds, to the bit, and the source stays as it is.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class RepackerTests
{
    private string _folder = "";

    private string Target => Path.Combine(_folder, "target");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Every_tensor_and_every_other_file_is_that_of_the_source([ValueSource(typeof(RepackFolders), nameof(RepackFolders.Checkpoints))] string checkpoint)
    {
        string source = RepackFolders.PathOf(checkpoint);
        Dictionary<string, string> before = RepackFolders.Files(source);
        RepackResult result = RepackFolders.Repack(source, Target);

        Assert.That(RepackFolders.Tensors(Target), Is.EquivalentTo(RepackFolders.Tensors(source)));
        Assert.That(RepackFolders.Files(source), Is.EquivalentTo(before), "the source is never written to");
        Dictionary<string, string> after = RepackFolders.Files(Target);
        Assert.That(before.Where(f => !f.Key.Contains("model.safetensors") && !f.Key.EndsWith(".safetensors")), Is.SubsetOf(after));
        Assert.That(after.Keys.Where(f => f.Contains("unfinished") || f.EndsWith(".lock")), Is.Empty);
        Assert.That(result.Written, Is.EqualTo(after.Count - 1), "all but the manifest");
        Assert.That(CheckpointVerifier.Verify(Target).Problems, Is.Empty);
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [Test]
    public void Logits_are_those_of_the_source_to_the_bit_mapped_and_from_slots([ValueSource(typeof(RepackFolders), nameof(RepackFolders.Checkpoints))] string checkpoint)
    {
        string source = RepackFolders.PathOf(checkpoint);
        RepackFolders.Repack(source, Target);
        using var original = new ModelUnderTest(source, Backend.CpuFast);
        var random = new Random(5);
        int[] tokens = [.. Enumerable.Range(0, 24).Select(_ => random.Next(original.Vocabulary))];
        float[] expected = original.Logits(tokens, 9, 1);
        using (var mapped = new ModelUnderTest(Target, Backend.CpuFast))
        {
            Assert.That(mapped.Logits(tokens, 9, 1), Is.EqualTo(expected));
        }

        using var tiered = new ModelUnderTest(Target, Backend.CpuFast, slotBytes: 200_000);
        Assert.That(tiered.Logits(tokens, 9, 1), Is.EqualTo(expected));
        Assert.That(tiered.Store.DriveBytesRead, Is.Positive);
    }

    [Test]
    public void Headers_say_for_whom_the_tensors_are_and_data_begin_aligned()
    {
        RepackFolders.Repack(RepackFolders.PathOf("tiny-k25"), Target);
        var files = new FolderCheckpointFiles(Target);
        foreach (string shard in ShardIndex.Read(files).Shards)
        {
            var metadata = new Dictionary<string, string>();
            List<TensorEntry> tensors = SafetensorsHeader.Read(files, shard, 0, metadata);
            Assert.That(metadata, Does.ContainKey("format").WithValue("pt"));
            Assert.That(tensors.Min(t => t.Offset) % RepackPlan.Alignment, Is.Zero);
        }
    }

    [Test]
    public void Folders_inside_are_copied_and_hidden_ones_and_unlisted_weights_are_not()
    {
        string source = RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Path.Combine(_folder, "source"));
        foreach (string name in new[] { "docs/deploy.md", ".cache/download.json", "empty.txt", "other.safetensors", ".gitattributes", ".DS_Store", "docs/._deploy.md", "._model.safetensors", RepackManifest.LockFile, $"{RepackManifest.File}.{Guid.NewGuid():N}.unfinished" })
        {
            string path = Path.Combine(source, name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, name == "empty.txt" ? "" : name);
        }

        RepackFolders.Repack(source, Target);
        string[] files = [.. RepackFolders.Files(Target).Keys.Select(f => f.Replace('\\', '/'))];
        Assert.That(files, Does.Contain("docs/deploy.md").And.Contain("empty.txt"));
        Assert.That(files.Where(f => Path.GetFileName(f).StartsWith('.') || f.StartsWith('.') || f == "other.safetensors" || RepackManifest.IsBesideJournal(f)), Is.Empty);
        Assert.That(RepackSource.Open(source).LeftOut.Select(f => f.Name), Is.EqualTo(new[] { "other.safetensors" }));
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);

        // Whoever looks into the folder changes it.
        File.AppendAllText(Path.Combine(source, ".DS_Store"), "opened");
        Assert.That(RepackFolders.Repack(source, Target).Written, Is.Zero);
    }

    /// <summary>As of a clone in which only the weights were fetched: the copy would be no clone, in which the rest could be.</summary>
    [TestCase("tiktoken.model")]
    [TestCase("docs/figure.png")]
    public void What_git_lfs_has_in_the_place_of_a_file_is_not_copied(string file)
    {
        string source = RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Path.Combine(_folder, "source"));
        string path = Path.Combine(source, file);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, $"version https://git-lfs.github.com/spec/v1\noid sha256:{new string('a', 64)}\nsize 4869235\n");
        Assert.That(() => RepackFolders.Repack(source, Target), Throws.TypeOf<CheckpointException>().With.Message.Contains(Path.GetFileName(file)).And.Message.Contains("git lfs pull"));
        Assert.That(Directory.Exists(Target), Is.False);
    }

    [Test]
    public void Links_to_folders_are_left_out_and_named()
    {
        string source = RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Path.Combine(_folder, "source"));
        Links.Create(Path.Combine(source, "docs"), source);
        Links.Create(Path.Combine(source, ".cache"), source);
        File.WriteAllText(Path.Combine(source, "a.safetensors"), "");
        Assert.That(RepackSource.Open(source).LeftOut, Is.EqualTo(new LeftOut[] { new("a.safetensors", "the index does not list it"), new("docs", "it is a link to a folder") }));
        RepackFolders.Repack(source, Target);
        Assert.That(Directory.Exists(Path.Combine(Target, "docs")), Is.False);
    }

    /// <summary>As lost+found in the root of a drive that was made for a model.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "Rights are others there.")]
    [UnsupportedOSPlatform("windows")]
    public void Folders_that_may_not_be_listed_are_left_out_and_named()
    {
        File.SetUnixFileMode(_folder, Unprivileged.Everybody);
        string source = RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Path.Combine(_folder, "source"));
        string closed = Directory.CreateDirectory(Path.Combine(source, "docs", "closed")).FullName;
        File.SetUnixFileMode(closed, UnixFileMode.None);
        try
        {
            Unprivileged.Run(closed, () =>
            {
                LeftOut leftOut = RepackSource.Open(source).LeftOut.Single();
                Assert.That(leftOut.Name, Is.EqualTo("docs/closed"));
                Assert.That(leftOut.Reason, Does.StartWith("it cannot be read: "));
            });
            RepackFolders.Repack(source, Target);
            Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
        }
        finally
        {
            File.SetUnixFileMode(closed, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Another kind of failure than missing rights may be over the next time: a copy without the folder's files would pass for whole, and the next run would take the source for another.</summary>
    [Test]
    [Platform("Linux")]
    public void A_folder_whose_listing_fails_ends_the_repack()
    {
        string source = RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Path.Combine(_folder, "source"));
        string outer = Path.Combine(source, Deep());
        string inner = Path.Combine(_folder, Deep());
        Directory.CreateDirectory(outer);
        Directory.CreateDirectory(inner);

        // No system lists a folder whose path is so long; it gets there with its own folder.
        string away = Path.Combine(_folder, "0");
        string moved = Path.Combine(outer, "0");
        Directory.Move(away, moved);
        try
        {
            Assert.That(() => RepackSource.Open(source), Throws.TypeOf<CheckpointException>().With.Message.Contains("cannot be read"));
        }
        finally
        {
            Directory.Move(moved, away);
        }

        static string Deep() => Path.Combine([.. Enumerable.Range(0, 12).Select(i => i == 0 ? "0" : new string('d', 200))]);
    }

    [Test]
    public void A_source_of_links_into_a_cache_is_repacked()
    {
        string source = Path.Combine(_folder, "snapshot");
        Directory.CreateDirectory(source);
        foreach (string file in Directory.GetFiles(RepackFolders.PathOf("tiny-fp8")))
        {
            Links.Create(Path.Combine(source, Path.GetFileName(file)), file);
        }

        RepackFolders.Repack(source, Target);
        Assert.That(RepackFolders.Tensors(Target), Is.EquivalentTo(RepackFolders.Tensors(source)));
        Assert.That(new FileInfo(Path.Combine(Target, "config.json")).LinkTarget, Is.Null, "a copy, no link");
    }

    [Test]
    public void A_repacked_checkpoint_can_be_repacked_to_the_same_bytes()
    {
        RepackFolders.Repack(RepackFolders.PathOf("tiny-int4"), Target);
        string again = Path.Combine(_folder, "again");
        RepackFolders.Repack(Target, again);
        Dictionary<string, string> first = RepackFolders.Files(Target);
        Dictionary<string, string> second = RepackFolders.Files(again);
        first.Remove(RepackManifest.File);
        second.Remove(RepackManifest.File);
        Assert.That(second, Is.EquivalentTo(first));
    }
}
