// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints.Repack;

/// <summary>Whatever interrupts a repack, the next run goes on; whatever is damaged or changed is noticed.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class RepackResumeTests
{
    private string _folder = "";

    private string Source => Path.Combine(_folder, "source");

    private string Target => Path.Combine(_folder, "target");

    [SetUp]
    public void MakeFolder()
    {
        _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        RepackFolders.Copy(RepackFolders.PathOf("tiny-int4"), Source);
    }

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void A_cancelled_run_keeps_what_is_finished_and_the_next_goes_on([Range(1, 12)] int seed)
    {
        var random = new Random(seed);
        int runs = 0;
        HashSet<string> finished = [];
        for (bool done = false; !done;)
        {
            var drive = new FaultyDrive();
            using var cancel = new CancellationTokenSource();
            int reportsLeft = random.Next(1, 400);
            var progress = new Reports(_ =>
            {
                if (--reportsLeft == 0)
                {
                    cancel.Cancel();
                }
            });
            try
            {
                RepackFolders.Repack(Source, Target, drive, progress, cancel.Token);
                done = true;
            }
            catch (OperationCanceledException)
            {
                Assert.That(Directory.GetFiles(Target, "*.unfinished"), Is.Empty);
                Assert.That(RepackManifest.TryRead(Target)!.IsComplete, Is.False);
                Assert.That(ChecksumVerifier.Verify(Target).Select(p => p.File), Is.EqualTo(new[] { RepackManifest.File }), "what is there is right, and known not to be all");
            }

            Assert.That(drive.Created.Where(finished.Contains), Is.Empty, "nothing is written twice");
            finished = [.. RepackManifest.TryRead(Target)!.Written.Keys];
            Assert.That(++runs, Is.LessThan(1000));
        }

        Assert.That(RepackManifest.TryRead(Target)!.IsComplete);
        Assert.That(RepackFolders.Tensors(Target), Is.EquivalentTo(RepackFolders.Tensors(Source)));
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [Test]
    public void A_run_on_a_finished_target_writes_nothing()
    {
        RepackFolders.Repack(Source, Target);
        var drive = new FaultyDrive();
        Assert.That(RepackFolders.Repack(Source, Target, drive), Has.Property(nameof(RepackResult.Written)).Zero);
        Assert.That(drive.Created, Is.Empty);
    }

    [Test]
    public void What_a_killed_run_left_is_replaced()
    {
        Interrupt("config.json");
        File.WriteAllText(Path.Combine(Target, "config.json.unfinished"), "half");
        RepackFolders.Repack(Source, Target);
        Assert.That(Directory.GetFiles(Target, "*.unfinished"), Is.Empty);
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [Test]
    public void A_byte_that_comes_back_wrong_fails_the_run_by_its_tensor_and_the_file_is_not_taken_for_whole()
    {
        RepackSource source = RepackSource.Open(Source);
        TargetFile file = RepackPlan.Of(source).Files[1];
        TensorEntry tensor = file.Tensors[7];
        var drive = new FaultyDrive { FlippedFile = file.Name, FlippedByte = tensor.Offset + 1 };
        CheckpointException error = Assert.Throws<CheckpointException>(() => RepackFolders.Repack(Source, Target, drive))!;
        Assert.That(error.Tensor, Is.EqualTo(tensor.Name));
        Assert.That(error.Message, Does.Contain("read back").And.Contain(file.Name));
        Assert.That(File.Exists(Path.Combine(Target, file.Name)), Is.False);
        Assert.That(Directory.GetFiles(Target, "*.unfinished"), Is.Empty);

        drive.FlippedByte = 9;
        Assert.That(() => RepackFolders.Repack(Source, Target, drive), Throws.TypeOf<CheckpointException>().With.Message.Contains("checksum"), "in the header");
        RepackFolders.Repack(Source, Target);
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [Test]
    public void A_shard_that_is_damaged_later_is_found_and_written_again_once_it_is_deleted()
    {
        RepackFolders.Repack(Source, Target);
        TensorEntry tensor = RepackPlan.Of(RepackSource.Open(Source)).Files[2].Tensors[^1];
        string shard = Path.Combine(Target, RepackPlan.Of(RepackSource.Open(Source)).Files[2].Name);
        RepackFolders.FlipByte(shard, tensor.Offset);
        VerificationProblem problem = ChecksumVerifier.Verify(Target).Single();
        Assert.That((problem.File, problem.Tensor), Is.EqualTo((Path.GetFileName(shard), tensor.Name)));

        File.Delete(shard);
        Assert.That(ChecksumVerifier.Verify(Target).Single().File, Is.EqualTo(Path.GetFileName(shard)));
        Assert.That(RepackFolders.Repack(Source, Target).Written, Is.EqualTo(2), "it and the index");
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [Test]
    public void A_shard_that_was_cut_or_has_another_header_is_written_again()
    {
        RepackFolders.Repack(Source, Target);
        string[] shards = Directory.GetFiles(Target, "*.safetensors");
        RepackFolders.FlipByte(shards[0], 20);
        using (var stream = new FileStream(shards[1], FileMode.Open))
        {
            stream.SetLength(stream.Length - 1);
        }

        Assert.That(ChecksumVerifier.Verify(Target), Has.Count.EqualTo(2));
        Assert.That(RepackFolders.Repack(Source, Target).Written, Is.EqualTo(3), "they and the index");
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    /// <summary>What is left would open, and break off where the shard is missing.</summary>
    [Test]
    public void A_finished_target_is_taken_apart_only_where_there_is_space_and_its_index_goes_first()
    {
        RepackFolders.Repack(Source, Target);
        string shard = Directory.GetFiles(Target, "*.safetensors").Order().ElementAt(1);
        long whole = new FileInfo(shard).Length;
        using (var stream = new FileStream(shard, FileMode.Open))
        {
            stream.SetLength(whole - 1);
        }

        Dictionary<string, string> before = RepackFolders.Files(Target);
        Assert.That(() => RepackFolders.Repack(Source, Target, new FaultyDrive { Free = 0 }), Throws.InstanceOf<IOException>().With.Message.Contains("free"));
        Assert.That(RepackFolders.Files(Target), Is.EquivalentTo(before));

        using var cancel = new CancellationTokenSource();
        Assert.That(() => RepackFolders.Repack(Source, Target, new FaultyDrive { Free = 1 + JournalSpace() }, new Reports(_ => cancel.Cancel()), cancel.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Path.Combine(Target, ShardIndex.File), Does.Not.Exist);
        RepackManifest manifest = RepackManifest.TryRead(Target)!;
        Assert.That(manifest.IsComplete, Is.False);
        Assert.That(manifest.Written.Keys, Has.None.EqualTo(ShardIndex.File).And.None.EqualTo(Path.GetFileName(shard)));
        Assert.That(RepackFolders.Repack(Source, Target).Written, Is.EqualTo(2));
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [Test]
    public void A_drive_that_fills_up_costs_one_file_and_not_those_before([Values(1_000, 1_500_000, 3_000_000)] long capacity)
    {
        var drive = new FaultyDrive { Capacity = capacity };
        IOException error = Assert.Throws<IOException>(() => RepackFolders.Repack(Source, Target, drive))!;
        Assert.That(error.Message, Does.Contain("No space left").And.Contain(Target).And.Contain("run again"));
        Assert.That(Directory.GetFiles(Target, "*.unfinished"), Is.Empty);
        int kept = RepackManifest.TryRead(Target)!.Written.Count;
        Assert.That(RepackFolders.Repack(Source, Target).Kept, Is.EqualTo(kept));
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [Test]
    public void Nothing_is_written_where_the_space_does_not_suffice()
    {
        var drive = new FaultyDrive { Free = 100_000 };
        Assert.That(() => RepackFolders.Repack(Source, Target, drive), Throws.InstanceOf<IOException>().With.Message.Contains("0.1 MB free"));
        Assert.That(drive.Created, Is.Empty);

        // Only what is missing needs space.
        Interrupt("config.json");
        drive.Free = 50_000_000;
        Assert.That(() => RepackFolders.Repack(Source, Target, drive), Throws.Nothing);
    }

    /// <summary>A checkpoint of Kimi K2 has a journal of 25 MB, which is written beside its place after every file.</summary>
    [Test]
    public void The_journal_needs_space_as_well()
    {
        RepackPlan plan = RepackPlan.Of(RepackSource.Open(Source));
        var drive = new FaultyDrive { Free = plan.Files.Sum(f => f.Bytes) + JournalSpace() - 1 };
        Assert.That(() => RepackFolders.Repack(Source, Target, drive), Throws.InstanceOf<IOException>().With.Message.Contains("are still to be written"));
        drive.Free++;
        RepackFolders.Repack(Source, Target, drive);
        Assert.That(new FileInfo(Path.Combine(Target, RepackManifest.File)).Length, Is.LessThanOrEqualTo(MostJournal()).And.GreaterThan(MostJournal() / 2));
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Links need a privilege there.")]
    public void What_no_journal_vouches_for_goes_before_the_journal_is_written()
    {
        RepackFolders.Repack(Source, Target);
        RepackPlan plan = RepackPlan.Of(RepackSource.Open(Source));
        string unknown = Path.Combine(Target, plan.Files[1].Name);
        string known = Path.Combine(Target, plan.Files[2].Name);
        RepackManifest manifest = RepackManifest.TryRead(Target)!;
        manifest.Written.Remove(plan.Files[1].Name);
        manifest.Save(Target);
        RepackFolders.FlipByte(known, 20);

        // Beside a file of such a name none can be made.
        string journal = Path.Combine(Target, RepackManifest.File);
        string place = Path.Combine(_folder, new string('j', 240));
        File.Move(journal, place);
        File.CreateSymbolicLink(journal, place);
        string before = File.ReadAllText(place);
        IOException error = Assert.Throws<IOException>(() => RepackFolders.Repack(Source, Target))!;
        Assert.That(error.Message, Does.StartWith($"'{journal}' could not be written: ").And.Contain("what is finished stays"));
        Assert.That((File.Exists(unknown), File.Exists(known), File.ReadAllText(place)), Is.EqualTo((false, true, before)));
    }

    /// <summary>As the root of a drive is that was made for the model.</summary>
    [Test]
    public void A_folder_with_lost_and_found_alone_is_empty()
    {
        Directory.CreateDirectory(Path.Combine(Target, "lost+found"));
        Assert.That(() => RepackFolders.Repack(Source, Target), Throws.Nothing);
    }

    /// <summary>A run that was killed before it wrote a shard into the journal leaves a whole one, which is written again in the space that it takes.</summary>
    [Test]
    public void A_file_that_the_journal_does_not_know_takes_no_space_from_the_one_that_replaces_it()
    {
        RepackFolders.Repack(Source, Target);
        RepackManifest manifest = RepackManifest.TryRead(Target)!;
        string shard = RepackPlan.Of(RepackSource.Open(Source)).Files[1].Name;
        manifest.Written.Remove(shard);
        manifest.IsComplete = false;
        manifest.Save(Target);
        var drive = new FaultyDrive { Size = RepackFolders.Bytes(Target) + JournalSpace() };
        Assert.That(RepackFolders.Repack(Source, Target, drive).Written, Is.EqualTo(2));
        Assert.That(drive.Created, Is.EqualTo(new[] { shard, ShardIndex.File }));
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    /// <summary>Such a drive does not let the file be deleted either.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "A file that is open cannot be replaced there.")]
    public void A_drive_that_fails_is_told_by_what_was_written_and_not_by_what_could_not_be_deleted()
    {
        const string Name = "config.json";
        string unfinished = Path.Combine(Target, Name + ".unfinished");
        var progress = new Reports(p =>
        {
            if (p.File == Name)
            {
                File.Delete(unfinished);
                Directory.CreateDirectory(unfinished);
                throw new IOException("the drive is gone");
            }
        });
        Assert.That(() => RepackFolders.Repack(Source, Target, null, progress), Throws.TypeOf<IOException>().With.Message.Contains("the drive is gone").And.Message.Contains(Name).And.Message.Contains("run again"));
    }

    [Test]
    public void A_source_that_changes_between_two_runs_is_refused([Values("config.json", "model-00002-of-00003.safetensors")] string file)
    {
        Interrupt("tiktoken.model");
        File.SetLastWriteTimeUtc(Path.Combine(Source, file), DateTime.UtcNow.AddMinutes(-7));
        CheckpointException error = Assert.Throws<CheckpointException>(() => RepackFolders.Repack(Source, Target))!;
        Assert.That(error.Message, Does.Contain(file).And.Contain("has changed"));
    }

    [Test]
    public void A_file_that_comes_or_goes_between_two_runs_is_refused()
    {
        Interrupt("tiktoken.model");
        string file = Path.Combine(Source, "chat_template.jinja");
        File.WriteAllText(file, "new");
        Assert.That(() => RepackFolders.Repack(Source, Target), Throws.TypeOf<CheckpointException>().With.Message.Contains("was not there"));
        File.Delete(file);
        File.Delete(Path.Combine(Source, "generation_config.json"));
        Assert.That(() => RepackFolders.Repack(Source, Target), Throws.TypeOf<CheckpointException>().With.Message.Contains("is not any more"));
    }

    [Test]
    public void A_source_that_changes_during_a_run_fails_it()
    {
        string shard = Path.Combine(Source, "model-00001-of-00003.safetensors");
        var drive = new FaultyDrive { OnCreate = name => Change(name, ShardIndex.File, () => File.SetLastWriteTimeUtc(shard, DateTime.UtcNow.AddMinutes(3))) };
        Assert.That(() => RepackFolders.Repack(Source, Target, drive), Throws.TypeOf<CheckpointException>().With.Message.Contains("has changed"));
        Assert.That(RepackManifest.TryRead(Target)!.IsComplete, Is.False);
        Directory.Delete(Target, recursive: true);

        drive.OnCreate = name => Change(name, "model-00002-of-", () =>
        {
            using var stream = new FileStream(Path.Combine(Source, "model-00002-of-00003.safetensors"), FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            stream.SetLength(stream.Length / 2);
        });
        Assert.That(() => RepackFolders.Repack(Source, Target, drive), Throws.TypeOf<CheckpointException>().With.Message.Contains("changed"));

        static void Change(string name, string at, Action change)
        {
            if (name.StartsWith(at, StringComparison.Ordinal))
            {
                change();
            }
        }
    }

    /// <summary>A download that still runs puts another file in a shard's place, to which the header that was read does not belong.</summary>
    [Test]
    public void A_shard_that_changes_while_headers_are_read_is_refused()
    {
        Assert.That(() => RepackSource.Open(Source, Change), Throws.TypeOf<CheckpointException>().With.Message.Contains("model-00001-of-00003").And.Message.Contains("has changed").And.Message.Contains("Wait until the download has ended"));

        void Change(int done, int total)
        {
            if (done == 1)
            {
                File.SetLastWriteTimeUtc(Path.Combine(Source, "model-00001-of-00003.safetensors"), DateTime.UtcNow.AddMinutes(3));
            }
        }
    }

    [Test]
    public void Targets_that_could_cost_somebody_files_are_refused()
    {
        string plain = Path.Combine(_folder, "plain");
        Directory.CreateDirectory(plain);
        File.WriteAllText(Path.Combine(plain, "letter.txt"), "dear");
        foreach (string target in new[] { Source, Source + Path.DirectorySeparatorChar, Path.Combine(Source, "inner"), Path.Combine(Source, "..", "source"), plain, Path.Combine(plain, "letter.txt") })
        {
            Assert.That(() => RepackFolders.Repack(Source, target), Throws.ArgumentException, target);
        }

        Assert.That(Directory.GetFileSystemEntries(plain), Has.Length.EqualTo(1));
        Assert.That(Directory.Exists(Path.Combine(Source, "inner")), Is.False);
    }

    [Test]
    public void A_link_to_the_source_is_no_other_folder([Values("", "inner")] string inner)
    {
        string link = Path.Combine(_folder, "link");
        Links.Create(link, Source);
        Assert.That(() => RepackFolders.Repack(Source, Path.Combine(link, inner)), Throws.ArgumentException);
        Assert.That(Directory.Exists(Path.Combine(Source, "inner")), Is.False);
    }

    [Test]
    public void Two_runs_do_not_write_to_one_target()
    {
        var drive = new FaultyDrive();
        drive.OnCreate = _ =>
        {
            drive.OnCreate = null;
            Assert.That(() => RepackFolders.Repack(Source, Target), Throws.InstanceOf<IOException>().With.Message.Contains("Another run"));
        };
        RepackFolders.Repack(Source, Target, drive);
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    [TestCase("")]
    [TestCase("{")]
    [TestCase("[]")]
    [TestCase("""{"format":2}""")]
    [TestCase("""{"format":1,"complete":true,"source":[{"name":"a","bytes":1,"written":"yesterday"}],"files":[]}""")]
    [TestCase("""{"format":1,"complete":true,"source":[],"files":[{"name":"../../etc/passwd","bytes":1,"checksum":"00"}]}""")]
    [TestCase("""{"format":1,"complete":true,"source":[],"files":[{"name":"../target-private/x","bytes":1,"checksum":"00"}]}""", Description = "begins like the folder")]
    [TestCase("""{"format":1,"complete":true,"source":[],"files":[{"name":".","bytes":1,"checksum":"00"}]}""")]
    [TestCase("""{"format":1,"complete":true,"source":[],"files":[{"name":null,"bytes":1,"checksum":"00"}]}""")]
    [TestCase("""{"format":1,"complete":true,"source":[],"files":[{"name":"a\u0000","bytes":1,"checksum":"00"}]}""")]
    [TestCase("""{"format":1,"complete":true,"source":[],"files":[{"name":"a","bytes":1,"checksum":"00","tensors":{"t":"00","t":"01"}}]}""")]
    [TestCase("""{"format":1,"complete":true,"source":[{"name":null,"bytes":1,"written":"2026-01-01"}],"files":[]}""")]
    [TestCase("""{"format":1,"complete":true,"source":[{"name":"a","bytes":1,"written":"2026-01-01"},{"name":"a","bytes":1,"written":"2026-01-01"}],"files":[]}""")]
    public void A_damaged_journal_is_an_error_that_says_so(string text)
    {
        Directory.CreateDirectory(Target);
        File.WriteAllText(Path.Combine(Target, RepackManifest.File), text);
        Assert.That(() => RepackFolders.Repack(Source, Target), Throws.TypeOf<CheckpointException>().With.Message.Contains(RepackManifest.File).And.Message.Contains("repack again").Or.Message.Contains("The file has format"));
        Assert.That(() => ChecksumVerifier.Verify(Target), Throws.TypeOf<CheckpointException>());
    }

    /// <summary>All of a drive, or a folder that is shown as one.</summary>
    [Test]
    public void What_a_root_holds_lies_inside_it()
    {
        string root = Path.GetPathRoot(Path.GetFullPath(Target))!;
        Assert.That(Target, Does.StartWith(RepackFolder.Inside(root)));
        Assert.That(Target + "-beside", Does.Not.StartWith(RepackFolder.Inside(Target)));
        Assert.That(Path.Combine(Target, "a"), Does.StartWith(RepackFolder.Inside(Target)).And.StartWith(RepackFolder.Inside(Target + Path.DirectorySeparatorChar)));
    }

    [Test]
    public void A_journal_that_cannot_be_written_leaves_nothing_behind()
    {
        Directory.CreateDirectory(Path.Combine(Target, RepackManifest.File));
        Assert.That(() => new RepackManifest([]).Save(Target), Throws.InstanceOf<IOException>().Or.InstanceOf<UnauthorizedAccessException>());
        Assert.That(Directory.GetFiles(Target), Is.Empty);
    }

    /// <summary>As of a run that was killed while it wrote its first journal.</summary>
    [Test]
    public void Half_a_journal_is_no_reason_to_refuse_a_folder()
    {
        Directory.CreateDirectory(Target);
        string half = Path.Combine(Target, $"{RepackManifest.File}.{Guid.NewGuid():N}.unfinished");
        File.WriteAllText(half, "{");
        File.SetLastWriteTimeUtc(half, DateTime.UtcNow.AddHours(-1));
        RepackFolders.Repack(Source, Target);
        Assert.That(half, Does.Not.Exist);
        Assert.That(ChecksumVerifier.Verify(Target), Is.Empty);
    }

    /// <summary>What the journal takes at most.</summary>
    private long MostJournal()
    {
        RepackSource source = RepackSource.Open(Source);
        return RepackManifest.MostBytes(source.Files, RepackPlan.Of(source).Files);
    }

    /// <summary>Two journals, less the one that is there.</summary>
    private long JournalSpace()
    {
        var journal = new FileInfo(Path.Combine(Target, RepackManifest.File));
        return (2 * MostJournal()) - (journal.Exists ? journal.Length : 0);
    }

    /// <summary>Ends a run when it begins a file.</summary>
    private void Interrupt(string file)
    {
        using var cancel = new CancellationTokenSource();
        var progress = new Reports(p =>
        {
            if (p.File == file)
            {
                cancel.Cancel();
            }
        });
        Assert.That(() => RepackFolders.Repack(Source, Target, null, progress, cancel.Token), Throws.InstanceOf<OperationCanceledException>());
    }

    private sealed class Reports(Action<RepackProgress> use) : IProgress<RepackProgress>
    {
        public void Report(RepackProgress value) => use(value);
    }
}
