// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using KimiCpu.Checkpoints;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Sessions;

/// <summary>Sessions that are saved and loaded, soundly or not.</summary>
[TestFixture]
internal sealed class SessionFileTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 8, LogProbabilities = true, IgnoreEndOfText = true };
    private static readonly int[] s_text = [.. Enumerable.Range(0, 150).Select(i => i * 13 % 500)];

    private string _folder = "";

    private string Path => System.IO.Path.Combine(_folder, "session.kimi");

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task A_loaded_session_goes_on_as_the_saved_one_would([Values] bool exact, [Values(1, 2)] int threads)
    {
        var options = new KimiModelOptions { Exact = exact, Threads = threads };
        int[] longer = [.. s_text, 1, 2, 3];
        GenerationResult expected;
        int tokens;
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        using (KimiSession session = model.CreateSession())
        {
            session.Generate(s_text.AsMemory(), s_options);
            session.ApplicationData = "my notes"u8.ToArray();
            tokens = session.TokenCount;
            var parts = new List<double>();
            await session.SaveAsync(Path, new Immediate(parts.Add));
            Assert.That(parts[^1], Is.EqualTo(1));
            expected = model.Generate(longer.AsMemory(), s_options);
        }

        using KimiModel next = KimiModel.OpenEmbedded(options);
        using KimiSession loaded = await next.LoadSessionAsync(Path);
        Assert.That(loaded.TokenCount, Is.EqualTo(tokens));
        Assert.That(loaded.ApplicationData.ToArray(), Is.EqualTo("my notes"u8.ToArray()));
        GenerationResult result = loaded.Generate(longer.AsMemory(), s_options);
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(s_text.Length));
        Assert.That(result.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(result.LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(expected.LogProbabilities.Select(l => l.LogProbability)), "to the bit");
        Assert.That(new FileInfo(Path).Length, Is.EqualTo(((long)tokens * (next.Info.CacheBytesPerToken + 4)) + 8 + 175).Within(60));
        Assert.That(Directory.GetFiles(_folder), Is.EqualTo(new[] { Path }), "nothing lies beside it");
        if (!OperatingSystem.IsWindows())
        {
            Assert.That(File.GetUnixFileMode(Path), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
        }
    }

    [Test]
    public void An_empty_session_can_be_saved_and_loaded()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        session.Save(Path);
        using KimiSession loaded = model.LoadSession(Path);
        Assert.That((loaded.TokenCount, loaded.ApplicationData.Length), Is.EqualTo((0, 0)));
    }

    [Test]
    public void Saving_replaces_a_file_whole_or_not_at_all()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        session.Save(Path);
        byte[] before = File.ReadAllBytes(Path);
        session.Generate(new[] { 1, 2, 3 }.AsMemory(), s_options);
        using var source = new CancellationTokenSource();
        Assert.That(() => session.Save(Path, new Immediate(_ => source.Cancel()), source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => session.Save(Path, new Immediate(_ => throw new IOException("the drive is gone"))), Throws.TypeOf<IOException>());
        Assert.That(File.ReadAllBytes(Path), Is.EqualTo(before));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
        Assert.That(() => session.Save(System.IO.Path.Combine(_folder, "none", "x")), Throws.InstanceOf<IOException>());
        session.Save(Path);
        Assert.That(File.ReadAllBytes(Path), Has.Length.LessThan(before.Length));
    }

    /// <summary>The names are those of the files that it writes to itself.</summary>
    [Test]
    public void Saving_deletes_what_a_killed_process_has_left()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        string left = $"{Path}.{Guid.NewGuid():N}.unfinished";
        File.WriteAllText(left, "half");
        File.SetLastWriteTimeUtc(left, DateTime.UtcNow.AddHours(-1));
        SaveFrom(model, s_text);
        Assert.That(Directory.GetFiles(_folder), Is.EqualTo(new[] { Path }));
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Links need rights there.")]
    public void Saving_to_a_link_replaces_the_file_that_it_leads_to()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        string target = System.IO.Path.Combine(Directory.CreateDirectory(System.IO.Path.Combine(_folder, "drive")).FullName, "anna.kimi");
        File.CreateSymbolicLink(Path, target);
        SaveFrom(model, s_text);
        SaveFrom(model, s_text);
        Assert.That(File.ResolveLinkTarget(Path, returnFinalTarget: true)!.FullName, Is.EqualTo(target));
        Assert.That(Directory.GetFiles(_folder, "*", SearchOption.AllDirectories), Is.EquivalentTo(new[] { Path, target }));
        using KimiSession loaded = model.LoadSession(Path);
        Assert.That(loaded.TokenCount, Is.Positive);
    }

    [Test]
    public void Loading_can_be_cancelled_and_gives_everything_back()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        SaveFrom(model, s_text);
        using KimiModel other = KimiModel.OpenEmbedded();
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.That(() => other.LoadSession(Path, cancellationToken: source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => other.LoadSession(Path, new Immediate(_ => throw new InvalidOperationException("no"))), Throws.InvalidOperationException);
        Assert.That(() => other.LoadSession(System.IO.Path.Combine(_folder, "none")), Throws.TypeOf<FileNotFoundException>());
        Assert.That(() => other.LoadSession(_folder), Throws.TypeOf<UnauthorizedAccessException>().With.Message.Contains("is a folder; a session is loaded from a file"));
        Assert.That(() => other.CachePages.Free, Is.EqualTo(other.CachePages.Capacity).After(60_000, 5));
        Assert.That(other.CachePages.Reusable, Is.Zero);
    }

    [Test]
    public void A_folder_in_place_of_a_file_is_refused_before_anything_is_written()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        Assert.That(() => session.Save(_folder), Throws.TypeOf<IOException>().With.Message.Contains("folder"));
        Assert.That(Directory.GetFiles(System.IO.Path.GetDirectoryName(_folder)!, $"{System.IO.Path.GetFileName(_folder)}.*"), Is.Empty);
    }

    /// <summary>A network drive that was away for a moment.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "A file that is mapped cannot be cut there.")]
    public void A_file_that_cannot_be_read_once_is_read_again()
    {
        string checkpoint = System.IO.Path.Combine(_folder, "model");
        Copy(Repository.NanoModel, checkpoint);
        using KimiModel model = KimiModel.Open(checkpoint);
        using KimiSession session = model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        string file = Directory.GetFiles(checkpoint, "*.safetensors")[0];
        byte[] whole = File.ReadAllBytes(file);
        using (var drive = new FileStream(file, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
        {
            drive.SetLength(1 << 12);
            Assert.That(() => session.Save(Path), Throws.TypeOf<CheckpointException>().With.Message.Contains(file).And.Message.Contains("It ends at byte"));
            drive.Write(whole);
        }

        session.Save(Path);
    }

    /// <summary>As a download does that brings another revision into the folder. The model goes on with the weights that it has opened, and so does its session.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "No file can take the place of one that is mapped there.")]
    public void A_session_is_of_the_weights_that_computed_it_whatever_lies_in_the_folder_since()
    {
        string folder = System.IO.Path.Combine(_folder, "copy");
        Copy(Repository.Checkpoint("tiny-int4"), folder);
        using (KimiModel model = KimiModel.Open(folder))
        {
            ChangeOneWeight(folder, shard =>
            {
                File.Copy(shard, shard + ".new");
                return shard + ".new";
            });
            SaveFrom(model);
            using KimiSession own = model.LoadSession(Path);
            Assert.That(own.TokenCount, Is.Positive);
        }

        using KimiModel next = KimiModel.Open(folder);
        Assert.That(() => next.LoadSession(Path), Refused("another model"));
        using KimiModel same = KimiModel.Open(Repository.Checkpoint("tiny-int4"));
        using KimiSession loaded = same.LoadSession(Path);
        Assert.That(loaded.TokenCount, Is.Positive);
    }

    [Test]
    public void A_cache_without_room_refuses_with_numbers_and_a_full_one_makes_room()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        SaveFrom(model, s_text);
        long page = 64L * model.Info.CacheBytesPerToken;
        using KimiModel small = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 2 * page });
        Assert.That(() => small.LoadSession(Path), Throws.TypeOf<ContextLengthException>().With.Message.Contains("150 tokens").And.Message.Contains("128").And.Message.Contains("KvCacheBytes"));
        using KimiModel shorter = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 100 });
        Assert.That(() => shorter.LoadSession(Path), Throws.TypeOf<ContextLengthException>().With.Message.Contains("100"));
        using KimiModel full = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 3 * page });
        full.Generate(Enumerable.Repeat(7, 170).ToArray().AsMemory(), s_options);
        using KimiSession loaded = full.LoadSession(Path);
        Assert.That(full.CachePages.Free, Is.Zero);
    }

    [Test]
    public void A_file_of_another_model_is_refused_by_name()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        SaveFrom(model);
        using KimiModel tiny = KimiModel.Open(Repository.Checkpoint("tiny-int4"));
        Assert.That(() => tiny.LoadSession(Path), Refused("kimi-nano", "tiny-int4"));

        // The same model elsewhere is the same.
        using KimiModel folder = KimiModel.Open(Repository.NanoModel);
        using KimiSession loaded = folder.LoadSession(Path);
        Assert.That(loaded.TokenCount, Is.EqualTo(4));
    }

    [Test]
    public void One_weight_or_one_number_of_the_configuration_makes_another_model()
    {
        string copy = System.IO.Path.Combine(_folder, "copy");
        Copy(Repository.Checkpoint("tiny-int4"), copy);
        using (KimiModel model = KimiModel.Open(copy))
        {
            SaveFrom(model);
        }

        string config = System.IO.Path.Combine(copy, "config.json");
        string text = File.ReadAllText(config);
        File.WriteAllText(config, text.Replace("\"rope_theta\": 50000", "\"rope_theta\": 50001", StringComparison.Ordinal));
        Assert.That(File.ReadAllText(config), Is.Not.EqualTo(text));
        using (KimiModel changed = KimiModel.Open(copy))
        {
            Assert.That(() => changed.LoadSession(Path), Refused("another model"));
        }

        File.WriteAllText(config, text + "\n");
        using (KimiModel same = KimiModel.Open(copy))
        using (KimiSession loaded = same.LoadSession(Path))
        {
            Assert.That(loaded.TokenCount, Is.Positive, "white space is nothing");
        }

        ChangeOneWeight(copy, shard => shard);
        using KimiModel other = KimiModel.Open(copy);
        Assert.That(() => other.LoadSession(Path), Refused("another model"));
    }

    [Test]
    public void Every_byte_that_is_damaged_is_found()
    {
        using KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"));
        byte[] sound = SaveFrom(model);
        Assert.That(sound, Has.Length.InRange(1000, 100_000));
        for (int i = 0; i < sound.Length; i++)
        {
            byte[] damaged = [.. sound];
            damaged[i] ^= (byte)(1 << (i % 8));
            File.WriteAllBytes(Path, damaged);
            Assert.That(() => model.LoadSession(Path), Throws.TypeOf<SessionFileException>().With.Message.StartsWith($"'{Path}'"), $"byte {i}");
        }

        AssertNothingHeld(model);
    }

    [Test]
    public void Files_cut_off_or_added_to_or_damaged_at_random_are_refused()
    {
        using KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"));
        byte[] sound = SaveFrom(model);
        foreach (int length in Enumerable.Range(0, 200).Append(sound.Length - 1).Append(sound.Length - 9))
        {
            File.WriteAllBytes(Path, sound[..length]);
            Assert.That(() => model.LoadSession(Path), Throws.TypeOf<SessionFileException>(), $"{length} bytes");
        }

        File.WriteAllBytes(Path, [.. sound, 0]);
        Assert.That(() => model.LoadSession(Path), Refused("added to"));
        var random = new Random(5);
        for (int i = 0; i < 500; i++)
        {
            byte[] mutant = Tests.Checkpoints.Mutation.Apply(sound, random);
            File.WriteAllBytes(Path, mutant);
            if (!mutant.AsSpan().SequenceEqual(sound))
            {
                Assert.That(() => model.LoadSession(Path), Throws.TypeOf<SessionFileException>());
            }
        }

        AssertNothingHeld(model);
    }

    /// <summary>Numbers that a damaged header would hardly have, with checksums that are right.</summary>
    [Test]
    public void Headers_that_lie_are_refused_before_anything_is_allocated()
    {
        using KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"));
        byte[] sound = SaveFrom(model);
        int header = BinaryPrimitives.ReadInt32LittleEndian(sound.AsSpan(12));
        string[] fields = ["bytes per token", "tokens per page", "tokens", "bytes of the application"];
        for (int field = 0; field < fields.Length; field++)
        {
            foreach (int value in new[] { -1, 0, int.MinValue, int.MaxValue, 1 << 28, 65 })
            {
                byte[] lie = [.. sound];
                BinaryPrimitives.WriteInt32LittleEndian(lie.AsSpan(16 + 16 + (field * 4)), value);
                BinaryPrimitives.WriteUInt64LittleEndian(lie.AsSpan(16 + header), KimiCpu.Sessions.SessionFormat.Hash(lie.AsSpan(0, 16 + header), 0, 0));
                if (!lie.AsSpan().SequenceEqual(sound))
                {
                    File.WriteAllBytes(Path, lie);
                    bool isPossible = field >= 2 && value is >= 0 and <= 1 << 28;
                    string reason = isPossible ? "The file has" : "The header says";
                    string seen = (fields[field], isPossible) switch
                    {
                        ("bytes per token", _) => $"tokens of {value} bytes",
                        ("tokens per page", _) => $"in pages of {value};",
                        ("tokens", false) => $"{value} tokens",
                        ("tokens", true) => $"{value:N0} tokens make",
                        _ => "",
                    };
                    long before = GC.GetAllocatedBytesForCurrentThread();
                    Assert.That(() => model.LoadSession(Path), Refused(reason, seen), $"{value} {fields[field]}");
                    Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(200_000), $"{value} {fields[field]}");
                }
            }
        }

        byte[] newer = [.. sound];
        newer[8] = 2;
        File.WriteAllBytes(Path, newer);
        Assert.That(() => model.LoadSession(Path), Refused("format 2", "Use a newer KimiCpu"));
        AssertNothingHeld(model);
    }

    [Test]
    public void Pages_that_change_places_are_found()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        session.Save(Path);
        byte[] bytes = File.ReadAllBytes(Path);
        int page = (64 * model.Info.CacheBytesPerToken) + 8;
        int last = ((session.TokenCount - 128) * model.Info.CacheBytesPerToken) + 8;
        int first = bytes.Length - last - (2 * page);
        File.WriteAllBytes(Path, [.. bytes[..first], .. bytes[(first + page)..(first + (2 * page))], .. bytes[first..(first + page)], .. bytes[^last..]]);
        Assert.That(() => model.LoadSession(Path), Refused("page 0"));
    }

    [Test]
    public async Task Saving_and_loading_go_on_beside_calls()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        IReadOnlyList<int> expected = model.Generate(new[] { 9, 9, 9 }.AsMemory(), s_options).Tokens;
        await Task.WhenAll(Enumerable.Range(0, 6).Select(worker => Task.Run(() =>
        {
            string path = Path + worker % 3;
            for (int i = 0; i < 20; i++)
            {
                session.Save(path);
                using KimiSession loaded = model.LoadSession(path);
                Assert.That(loaded.TokenCount, Is.EqualTo(session.TokenCount));
                Assert.That(model.Generate(new[] { 9, 9, 9 }.AsMemory(), s_options).Tokens, Is.EqualTo(expected));
            }
        })));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(3));
    }

    [Test]
    public void A_save_that_has_read_its_last_page_ends_well_though_the_model_is_disposed()
    {
        KimiModel model = KimiModel.OpenEmbedded();
        KimiSession session = model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        session.Save(Path);
        var disposing = new Immediate(_ => model.Dispose());
        using KimiModel other = KimiModel.OpenEmbedded();
        Assert.That(() => session.Save(Path, disposing), Throws.Nothing, "its last page was read");
        Assert.That(() => session.Save(Path), Throws.TypeOf<ObjectDisposedException>());
        using KimiSession loaded = other.LoadSession(Path);
        Assert.That(loaded.TokenCount, Is.Positive);
    }

    private static void AssertNothingHeld(KimiModel model)
    {
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
        Assert.That(model.CachePages.Reusable, Is.EqualTo(1), "that of the session that was saved");
    }

    private static NUnit.Framework.Constraints.IResolveConstraint Refused(params string[] parts) =>
        Throws.TypeOf<SessionFileException>().With.Message.Matches<string?>(message => parts.All(p => message!.Contains(p, StringComparison.Ordinal)));

    /// <param name="folder">Of the checkpoint.</param>
    /// <param name="written">Gives the file that is written to, which takes the shard's place.</param>
    private static void ChangeOneWeight(string folder, Func<string, string> written)
    {
        TensorEntry tensor;
        using (Checkpoint checkpoint = Checkpoint.Open(folder))
        {
            tensor = checkpoint.Get("model.layers.1.self_attn.o_proj.weight");
        }

        string shard = Directory.GetFiles(folder, "*.safetensors").Order().ElementAt(tensor.Shard);
        string changed = written(shard);
        using (FileStream file = File.OpenWrite(changed))
        {
            file.Position = tensor.Offset + (tensor.Length / 2);
            file.WriteByte(0x55);
        }

        File.Move(changed, shard, overwrite: true);
    }

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.GetFiles(from))
        {
            File.Copy(file, System.IO.Path.Combine(to, System.IO.Path.GetFileName(file)));
        }
    }

    private byte[] SaveFrom(KimiModel model, params int[] text)
    {
        using KimiSession session = model.CreateSession();
        session.Generate((text.Length > 0 ? text : [1, 2, 3, 4]).AsMemory(), s_options with { MaxTokens = 1 });
        session.Save(Path);
        return File.ReadAllBytes(Path);
    }

    private sealed class Immediate(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
