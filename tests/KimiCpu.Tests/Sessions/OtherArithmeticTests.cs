// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using KimiCpu.Generation;
using KimiCpu.Sessions;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Server;

namespace KimiCpu.Tests.Sessions;

/// <summary>Files of sessions that were computed with other arithmetic, or in a cache of another format: their tokens are computed again.</summary>
[TestFixture]
internal sealed class OtherArithmeticTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 4, LogProbabilities = true, IgnoreEndOfText = true };
    private static readonly int[] s_text = [.. Enumerable.Range(0, 150).Select(i => i * 13 % 500)];
    private static readonly int[] s_longer = [.. s_text, 1, 2, 3];
    private static readonly KimiModelOptions s_fast = new();
    private static readonly KimiModelOptions s_exact = new() { Exact = true };
    private static readonly KimiModelOptions s_copied = new() { Int8HotPath = true };

    private string _folder = "";

    private string Path => System.IO.Path.Combine(_folder, "session.kimi");

    private static IEnumerable<TestCaseData> Pairs =>
    [
        new TestCaseData(s_fast, s_exact).SetArgDisplayNames("BF16 cache", "F32 cache"),
        new TestCaseData(s_exact, s_fast).SetArgDisplayNames("F32 cache", "BF16 cache"),
        new TestCaseData(s_fast, s_copied).SetArgDisplayNames("BF16 weights", "8-bit weights"),
        new TestCaseData(s_exact, s_fast with { PrefixCaching = false }).SetArgDisplayNames("F32 cache", "BF16 cache that calls do not share"),
    ];

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [TestCaseSource(nameof(Pairs))]
    public async Task Answers_are_those_of_a_session_that_never_saw_the_file(KimiModelOptions saved, KimiModelOptions opened)
    {
        int tokens = Save(saved);
        GenerationResult expected;
        using (KimiModel fresh = KimiModel.OpenEmbedded(opened))
        using (KimiSession session = fresh.CreateSession())
        {
            expected = session.Generate(s_longer.AsMemory(), s_options);
        }

        using var log = new LogLines();
        using var logs = new Microsoft.Extensions.Logging.LoggerFactory([log]);
        using KimiModel model = KimiModel.OpenEmbedded(opened with { LoggerFactory = logs });
        var parts = new List<double>();
        using KimiSession loaded = await model.LoadSessionAsync(Path, new Immediate(parts.Add));
        Assert.That(log.Lines, Has.Some.Contains($"{tokens} tokens again").And.Some.Contains("exact arithmetic").Or.Some.Contains("8-bit copies"));
        Assert.That(parts, Is.EqualTo(new double[] { 1 }));
        Assert.That((loaded.TokenCount, loaded.ApplicationData.Length), Is.EqualTo((tokens, 2)));
        using KimiSession branch = loaded.Branch();
        foreach ((KimiSession session, int cached) in new[] { (loaded, 0), (loaded, s_longer.Length - 1), (branch, opened.PrefixCaching ? s_longer.Length - 1 : 0) })
        {
            GenerationResult result = session.Generate(s_longer.AsMemory(), s_options);
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(cached));
            Same(result, expected);
        }
    }

    [Test]
    public void Saving_computes_first_and_the_file_is_one_of_the_model_that_saved_it_last()
    {
        int tokens = Save(s_exact);
        var parts = new List<double>();
        using (KimiModel model = KimiModel.OpenEmbedded())
        using (KimiSession loaded = model.LoadSession(Path))
        {
            loaded.Save(Path, new Immediate(parts.Add));
        }

        Assert.That(parts, Is.Ordered.And.All.InRange(0, 1));
        Assert.That((parts[0], parts[^1]), Is.EqualTo((0.0, 1.0)));
        Assert.That(parts, Has.Some.EqualTo(0.9).Within(1e-9), "computed, and nothing written yet");

        using KimiModel next = KimiModel.OpenEmbedded();
        using KimiSession again = next.LoadSession(Path);
        Assert.That(again.TokenCount, Is.EqualTo(tokens));
        GenerationResult result = again.Generate(s_longer.AsMemory(), s_options);
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(s_text.Length));
        using KimiModel fresh = KimiModel.OpenEmbedded();
        Same(result, fresh.Generate(s_longer.AsMemory(), s_options));
    }

    /// <summary>To compute a long conversation may take hours.</summary>
    [Test]
    public void A_place_where_nothing_can_be_saved_is_told_before_anything_is_computed()
    {
        Save(s_exact);
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession loaded = model.LoadSession(Path);
        var parts = new List<double>();
        Assert.That(() => loaded.Save(System.IO.Path.Combine(_folder, "none", "x"), new Immediate(parts.Add)), Throws.TypeOf<DirectoryNotFoundException>());
        Assert.That(() => loaded.Save(_folder, new Immediate(parts.Add)), Throws.TypeOf<IOException>().With.Message.Contains("is a folder"));
        Assert.That(parts, Is.Empty);
        Assert.That(Directory.GetFileSystemEntries(_folder), Is.EqualTo(new[] { Path }), "nothing lies beside it");
    }

    [Test]
    public void The_call_that_computes_can_be_cancelled_and_the_session_keeps_its_tokens()
    {
        int tokens = Save(s_exact);
        using KimiModel model = KimiModel.OpenEmbedded();
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.That(() => model.LoadSession(Path, cancellationToken: source.Token), Throws.InstanceOf<OperationCanceledException>());
        using KimiSession loaded = model.LoadSession(Path);
        byte[] before = File.ReadAllBytes(Path);
        Assert.That(() => loaded.Save(Path, cancellationToken: source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => loaded.Generate(s_longer.AsMemory(), s_options, source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(loaded.TokenCount, Is.EqualTo(tokens));
        Assert.That(File.ReadAllBytes(Path), Is.EqualTo(before));
        Assert.That(loaded.Generate(s_longer.AsMemory(), s_options).Tokens, Has.Count.EqualTo(s_options.MaxTokens));
    }

    [Test]
    [CancelAfter(60_000)]
    public void A_save_that_computes_can_be_cancelled_where_its_progress_is_shown(CancellationToken cancellationToken)
    {
        int tokens = Save(s_exact);
        byte[] before = File.ReadAllBytes(Path);
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession loaded = model.LoadSession(Path, cancellationToken: cancellationToken);
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        double last = -1;
        Assert.That(() => loaded.Save(Path, new Immediate(StopAtOnce), source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(last, Is.InRange(0, 0.9), "while it computed");
        Assert.That(File.ReadAllBytes(Path), Is.EqualTo(before));
        Assert.That(loaded.TokenCount, Is.EqualTo(tokens));

        void StopAtOnce(double part)
        {
            last = part;
            source.Cancel();
        }
    }

    /// <summary>What it computes is no answer that somebody waits for, and would never be done where it takes longer than a call may.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_save_that_computes_takes_as_long_as_it_takes(CancellationToken cancellationToken)
    {
        int tokens = Save(s_exact);
        var scheduling = new SchedulingOptions { MaxQueueTime = TimeSpan.FromTicks(1), MaxCallTime = TimeSpan.FromTicks(1) };
        using (KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = scheduling, PrefillChunk = 16 }))
        using (KimiSession loaded = model.LoadSession(Path, cancellationToken: cancellationToken))
        {
            Assert.That(() => model.Generate(s_text.AsMemory(), s_options, cancellationToken), Throws.InstanceOf<TimeoutException>().Or.InstanceOf<KimiBusyException>());
            loaded.Save(Path, cancellationToken: cancellationToken);
        }

        using KimiModel next = KimiModel.OpenEmbedded();
        using KimiSession again = next.LoadSession(Path, cancellationToken: cancellationToken);
        Assert.That(again.Generate(s_longer.AsMemory(), s_options, cancellationToken).Usage.CachedTokens, Is.EqualTo(s_text.Length));
        Assert.That(tokens, Is.GreaterThan(s_text.Length));
    }

    [Test]
    public void More_tokens_than_the_model_can_hold_are_refused_with_numbers()
    {
        int tokens = Save(s_exact);
        using KimiModel shorter = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 100 });
        Assert.That(() => shorter.LoadSession(Path), Throws.TypeOf<ContextLengthException>().With.Message.Contains($"{tokens}").And.Message.Contains("100"));
    }

    /// <summary>A call computes them, which answers a token: what fits by itself alone could never be saved again.</summary>
    [Test]
    public void What_is_loaded_can_be_saved_again()
    {
        int tokens = Save(s_exact);
        using (KimiModel full = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = tokens }))
        {
            Assert.That(() => full.LoadSession(Path), Throws.TypeOf<ContextLengthException>().With.Message.Contains($"{tokens} tokens that are to be computed again").And.Message.Contains("ContextLength"));
        }

        using (KimiModel same = KimiModel.OpenEmbedded(s_exact with { ContextLength = tokens }))
        using (KimiSession loaded = same.LoadSession(Path))
        {
            Assert.That(() => loaded.Save(Path), Throws.Nothing, "these need no call");
        }

        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = tokens + 1 });
        using KimiSession session = model.LoadSession(Path);
        Assert.That(() => session.Save(Path), Throws.Nothing);
    }

    [Test]
    public void Damage_and_other_models_are_refused_as_ever()
    {
        Save(s_exact);
        using KimiModel tiny = KimiModel.Open(Repository.Checkpoint("tiny-int4"));
        Assert.That(() => tiny.LoadSession(Path), Refused("kimi-nano"));
        using KimiModel model = KimiModel.OpenEmbedded();
        byte[] sound = File.ReadAllBytes(Path);
        int header = BinaryPrimitives.ReadInt32LittleEndian(sound.AsSpan(12));
        int read = 16 + header + 8 + (4 * (s_text.Length + s_options.MaxTokens!.Value - 1)) + 8 + 2 + 8;
        for (int i = 0; i < read; i++)
        {
            byte[] damaged = [.. sound];
            damaged[i] ^= (byte)(1 << (i % 8));
            File.WriteAllBytes(Path, damaged);
            Assert.That(() => model.LoadSession(Path), Throws.TypeOf<SessionFileException>(), $"byte {i}");
        }

        File.WriteAllBytes(Path, sound[..^1]);
        Assert.That(() => model.LoadSession(Path), Refused("cut off"));
        File.WriteAllBytes(Path, [.. sound, 0]);
        Assert.That(() => model.LoadSession(Path), Refused("added to"));

        // Sizes that cannot be, with checksums that are right.
        foreach (int value in new[] { -1, 0, 1, int.MinValue, int.MaxValue })
        {
            byte[] lie = [.. sound];
            BinaryPrimitives.WriteInt32LittleEndian(lie.AsSpan(32), value);
            BinaryPrimitives.WriteUInt64LittleEndian(lie.AsSpan(16 + header), SessionFormat.Hash(lie.AsSpan(0, 16 + header), 0, 0));
            File.WriteAllBytes(Path, lie);
            Assert.That(() => model.LoadSession(Path), Throws.TypeOf<SessionFileException>(), $"{value} bytes a token");
        }

        Assert.That(model.CachePages, Is.EqualTo((model.CachePages.Capacity, 0, model.CachePages.Capacity)));
    }

    /// <summary>The whole context of 262,144 tokens takes more than the GPU has in either format, and so comes in 8 bits.</summary>
    [Test]
    public void A_GPU_whose_cache_has_another_format_computes_them_too([Values] bool int8)
    {
        int[] text = s_text[..40];
        int[] beginning = s_text[..35];
        using var driver = new SimulatedDriver();
        using (KimiModel other = OpenGpu(!int8))
        using (KimiSession session = other.CreateSession())
        {
            session.Generate(text, s_options);
            session.Save(Path);
        }

        using (KimiModel model = OpenGpu(int8))
        {
            GenerationResult expected = model.Generate(beginning, s_options);
            using KimiSession loaded = model.LoadSession(Path);
            GenerationResult result = loaded.Generate(beginning, s_options);
            Assert.That(result.Usage.CachedTokens, Is.Zero);
            Same(result, expected);
        }

        Assert.That(driver.Fault, Is.Null);

        KimiModel OpenGpu(bool small)
        {
            var options = new KimiModelOptions { ContextLength = small ? int.MaxValue : null, Device = KimiDevice.Cuda(0), CudaDriver = driver.Table, RememberExperts = false, PrefixCaching = false, PrefillChunk = 16 };
            KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"), options);
            Assert.That(model.Placement, Does.Contain(small ? ", 8-bit cache of" : ", BF16 cache of"));
            return model;
        }
    }

    private int Save(KimiModelOptions options)
    {
        using KimiModel model = KimiModel.OpenEmbedded(options);
        using KimiSession session = model.CreateSession();
        session.Generate(s_text.AsMemory(), s_options);
        session.ApplicationData = new byte[] { 1, 2 };
        session.Save(Path);
        return session.TokenCount;
    }

    private static NUnit.Framework.Constraints.IResolveConstraint Refused(string part) => Throws.TypeOf<SessionFileException>().With.Message.Contains(part);

    private static void Same(GenerationResult found, GenerationResult expected)
    {
        Assert.That(found.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(found.LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(expected.LogProbabilities.Select(l => l.LogProbability)), "to the bit");
    }

    private sealed class Immediate(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
