// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Server;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Sessions;

/// <summary>Prompts that go on from pages that were read back from a drive, on the CPU and on a simulated GPU.</summary>
[TestFixture(false)]
[TestFixture(true)]
[Parallelizable(ParallelScope.Self)]
internal sealed class PromptCacheTests(bool onGpu)
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 3, LogProbabilities = true, IgnoreEndOfText = true };
    private static readonly int[] s_text = Text(1);
    private static readonly int[] s_longer = [.. s_text, 1, 2, 3];

    private LogLines _log = new();
    private string _folder = "";
    private SimulatedDriver? _driver;

    [SetUp]
    public void Start()
    {
        _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        _log = new LogLines();
        _driver = onGpu ? new SimulatedDriver() : null;
    }

    [TearDown]
    public void Stop()
    {
        string? fault = _driver?.Fault;
        _driver?.Dispose();
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
        Assert.That(fault, Is.Null);
    }

    [Test]
    public void A_prompt_goes_on_after_a_restart_as_if_there_had_been_none()
    {
        GenerationResult resident;
        using (KimiModel model = Open())
        {
            // Whole pages, so that the same tokens are computed behind them.
            model.Generate(s_text.AsMemory(0, 192), s_options);
            resident = model.Generate(s_longer, s_options);
            Assert.That(resident.Usage.CachedTokens, Is.EqualTo(192));
        }

        Assert.That(Files(), Has.Length.EqualTo(3), "whole pages alone");
        using (KimiModel next = Open())
        {
            GenerationResult reloaded = next.Generate(s_longer, s_options);
            Assert.That(reloaded.Usage.CachedTokens, Is.EqualTo(192));
            SameBits(reloaded, resident);
            Assert.That(_log.Lines, Has.Some.Contain("Read 192 tokens of a prompt back"));
            GenerationResult again = next.Generate(s_longer, s_options);
            Assert.That(again.Usage.CachedTokens, Is.EqualTo(s_longer.Length - 1), "they are in the cache itself now");
            Same(again, resident);
        }

        using KimiModel without = Open(folder: "");
        Same(without.Generate(s_longer, s_options), resident);
    }

    [Test]
    public void Two_conversations_take_turns_in_a_cache_that_holds_one()
    {
        int[] other = Text(2);
        using KimiModel model = Open(pages: 4);
        GenerationResult first = model.Generate(s_text, s_options);
        AwaitFiles(3);
        GenerationResult second = model.Generate(other, s_options);
        AwaitFiles(6);
        for (int turn = 0; turn < 2; turn++)
        {
            GenerationResult next = model.Generate(s_text, s_options);
            Assert.That(next.Usage.CachedTokens, Is.EqualTo(192));
            Same(next, first);
            next = model.Generate(other, s_options);
            Assert.That(next.Usage.CachedTokens, Is.EqualTo(192));
            Same(next, second);
        }

        Assert.That(_log.Lines.Count(l => l.Contains("Read 192 tokens", StringComparison.Ordinal)), Is.EqualTo(4));

        Assert.That(Files(), Has.Length.EqualTo(6));
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    /// <summary>Of the page where a text parts from another one in the cache that one's beginning is copied: then the whole page comes from the drive.</summary>
    [Test]
    public void A_page_that_the_cache_has_the_beginning_of_is_read()
    {
        GenerationResult expected;
        using (KimiModel model = Open())
        {
            expected = model.Generate(s_text, s_options);
        }

        using KimiModel next = Open();
        int[] parting = [.. s_text.AsSpan(0, 100), 7, 7, 7];
        GenerationResult parted = next.Generate(parting, s_options);
        Assert.That(parted.Usage.CachedTokens, Is.EqualTo(64));
        GenerationResult result = next.Generate(s_text, s_options);
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(192));
        Same(result, expected);
    }

    [Test]
    public void Calls_at_once_share_what_is_read()
    {
        GenerationResult expected;
        using (KimiModel model = Open())
        {
            expected = model.Generate(s_text, s_options);
        }

        using KimiModel next = Open();
        Task<GenerationResult>[] calls = [.. Enumerable.Range(0, 4).Select(_ => Task.Run(() => next.Generate(s_text, s_options)))];
        Task.WaitAll(calls);
        Assert.That(calls.Select(c => c.Result.Usage.CachedTokens), Is.All.GreaterThanOrEqualTo(192));
        Assert.That(calls.Select(c => c.Result.Tokens), Is.All.EqualTo(expected.Tokens));
    }

    [Test]
    public void A_damaged_page_and_what_follows_are_computed()
    {
        GenerationResult expected;
        using (KimiModel model = Open())
        {
            expected = model.Generate(s_text, s_options);
        }

        string second = Files().Single(f => f.EndsWith("-1.kvpage", StringComparison.Ordinal));
        byte[] bytes = File.ReadAllBytes(second);
        bytes[^100] ^= 1;
        File.WriteAllBytes(second, bytes);
        using (KimiModel next = Open())
        {
            GenerationResult result = next.Generate(s_text, s_options);
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(64));
            Same(result, expected);
            Assert.That(_log.Lines, Has.Exactly(1).Contain("is deleted and will be computed again"));
        }

        using KimiModel last = Open();
        Assert.That(last.Generate(s_text, s_options).Usage.CachedTokens, Is.EqualTo(192), "written anew");
    }

    [Test]
    public void Pages_of_other_arithmetic_are_not_found()
    {
        using (KimiModel model = Open())
        {
            model.Generate(s_text, s_options);
        }

        using KimiModel other = KimiModel.Open(Repository.Checkpoint("tiny-int4"), new KimiModelOptions { Exact = true, PromptCacheDirectory = _folder });
        Assert.That(other.Generate(s_text, s_options).Usage.CachedTokens, Is.Zero);
        Assert.That(() => Files(), Has.Length.EqualTo(6).After(60_000, 5), "both have theirs");
    }

    [Test]
    public void A_second_model_does_without_the_folder_of_the_first()
    {
        using KimiModel first = Open();
        first.Generate(s_text, s_options);
        AwaitFiles(3);
        using var factory = new LoggerFactory([_log]);
        using KimiModel second = KimiModel.Open(Repository.Checkpoint("tiny-int4"), new KimiModelOptions { PromptCacheDirectory = _folder, LoggerFactory = factory });
        Assert.That(_log.Lines, Has.Some.Contain("in use by another process or model"));
        Assert.That(second.Generate(s_text, s_options).Usage.CachedTokens, Is.Zero);
    }

    [Test]
    public void What_makes_no_sense_is_refused()
    {
        Assert.That(() => KimiModel.OpenEmbedded(new KimiModelOptions { PromptCacheDirectory = _folder, PrefixCaching = false }), Throws.ArgumentException.With.Message.Contains("PrefixCaching"));
        Assert.That(() => KimiModel.OpenEmbedded(new KimiModelOptions { PromptCacheDirectory = _folder, PromptCacheBytes = 999_999_999 }), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("PromptCacheBytes"));
        Assert.That(() => KimiModel.OpenEmbedded(new KimiModelOptions { PromptCacheDirectory = " " }), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("PromptCacheDirectory"));
    }

    private static int[] Text(int seed) => [seed, .. Enumerable.Range(1, 199).Select(i => ((i * 13) + seed) % 500)];

    private static void SameBits(GenerationResult result, GenerationResult expected)
    {
        Assert.That(result.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(result.LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(expected.LogProbabilities.Select(l => l.LogProbability)), "to the bit");
    }

    /// <summary>On a GPU last bits depend on how many tokens are computed at once, and with it on what is cached, wherever that comes from.</summary>
    private void Same(GenerationResult result, GenerationResult expected)
    {
        if (onGpu)
        {
            Assert.That(result.Tokens, Is.EqualTo(expected.Tokens));
        }
        else
        {
            SameBits(result, expected);
        }
    }

    /// <param name="folder">Null for the test's, empty for none.</param>
    /// <param name="pages">Of the cache; null for many.</param>
    private KimiModel Open(string? folder = null, int? pages = null)
    {
        var factory = new LoggerFactory([_log]);
        var options = new KimiModelOptions
        {
            PromptCacheDirectory = folder == "" ? null : folder ?? _folder,
            LoggerFactory = factory,
            Device = onGpu ? KimiDevice.Cuda() : KimiDevice.Cpu,
            CudaDriver = _driver?.Table,
            GpuExpertBytes = 0,
            RememberExperts = false,
        };
        string checkpoint = Repository.Checkpoint("tiny-int4");
        if (pages is { } count)
        {
            using KimiModel model = KimiModel.Open(checkpoint, options with { PromptCacheDirectory = null });
            options = options with { KvCacheBytes = (long)count * model.Info.CacheBytesPerToken * KvPage.Tokens };
        }

        return KimiModel.Open(checkpoint, options);
    }

    private string[] Files() => Directory.GetFiles(_folder, "*.kvpage");

    private void AwaitFiles(int count) => Assert.That(() => Files().Length, Is.EqualTo(count).After(60_000, 5));
}
