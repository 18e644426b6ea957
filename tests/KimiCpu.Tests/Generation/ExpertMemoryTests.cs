// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Generation;
using KimiCpu.Tests.Model;
using KimiCpu.Tests.Server;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Generation;

/// <summary>The options for experts beyond memory, as a user of the library meets them.</summary>
[TestFixture]
internal sealed class ExpertMemoryTests
{
    private static readonly string s_nano = Path.Combine(Repository.Root, "models", "kimi-nano");
    private static readonly GenerationOptions s_greedy = new() { Temperature = 0, MaxTokens = 30 };

    [TestCase(70_000)]
    [TestCase(1_000_000)]
    [TestCase(1_000_000_000)]
    public void Answers_are_the_same_whatever_the_memory_for_experts(long bytes)
    {
        using KimiModel mapped = KimiModel.Open(s_nano);
        using KimiModel tiered = KimiModel.Open(s_nano, new KimiModelOptions { ExpertMemory = bytes });
        GenerationResult expected = mapped.Generate("What is the capital of France?", s_greedy);
        GenerationResult found = tiered.Generate("What is the capital of France?", s_greedy);
        Assert.That(found.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(mapped.Placement, Does.Contain("weights mapped from the checkpoint"));
        Assert.That(tiered.Placement, Does.Contain("experts in").And.Contain("read from the drive"));
        Assert.That(expected.Timings.DecodeDriveBytesPerToken, Is.Zero);
        if (bytes < 1_000_000)
        {
            Assert.That(found.Timings.DecodeDriveBytesPerToken, Is.GreaterThan(0));
        }
    }

    [Test]
    public void Preloaded_experts_are_not_read_again()
    {
        using KimiModel tiered = KimiModel.Open(s_nano, new KimiModelOptions { ExpertMemory = 1_000_000_000, PreloadExperts = true });
        Assert.That(tiered.Generate("What is the capital of France?", s_greedy).Timings.DecodeDriveBytesPerToken, Is.Zero);
    }

    [Test]
    public void Preloading_tells_how_far_it_is_and_can_be_cancelled([Values(null, 1_000_000_000L)] long? bytes)
    {
        using var source = new CancellationTokenSource();
        var phases = new List<string>();
        var options = new KimiModelOptions { ExpertMemory = bytes, PreloadExperts = true, Progress = new Reporter(p => { lock (phases) { phases.Add(p.Phase); } }) };
        using (KimiModel.Open(s_nano, options))
        {
            Assert.That(phases, Does.Contain("experts"));
        }

        options = options with { Progress = new Reporter(p => { if (p.Phase == "experts") { source.Cancel(); } }) };
        Assert.That(async () => await KimiModel.OpenAsync(s_nano, options, source.Token), Throws.InstanceOf<OperationCanceledException>());
    }

    /// <summary>Windows has no such limit to raise, and nothing is locked there.</summary>
    [Test]
    public void Mapped_experts_that_are_not_locked_are_told_with_what_helps_on_this_system()
    {
        using var log = new LogLines();
        using var loggers = new LoggerFactory([log]);
        using KimiModel model = KimiModel.Open(s_nano, new KimiModelOptions { PreloadExperts = true, LoggerFactory = loggers });
        string[] warnings = [.. log.Lines.Where(l => l.Contains("does not lock them there", StringComparison.Ordinal))];
        Assert.That(warnings.Select(w => w.Contains("ulimit -l", StringComparison.Ordinal)), Has.All.EqualTo(!OperatingSystem.IsWindows()));
        Assert.That(warnings.Length > 0 || !OperatingSystem.IsWindows(), "elsewhere all may be locked");
    }

    [Test]
    public void Memory_for_less_than_an_expert_is_refused_with_the_size_of_one() =>
        Assert.That(() => KimiModel.Open(s_nano, new KimiModelOptions { ExpertMemory = 1000 }), Throws.InstanceOf<ArgumentOutOfRangeException>().With.Message.Contains("One expert takes"));

    [Test]
    public void The_model_that_comes_along_needs_no_drive()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { ExpertMemory = 1_000_000, PreloadExperts = true });
        Assert.That(model.Placement, Does.Contain("weights mapped"));
    }

    [Test]
    public void A_cache_without_limit_takes_no_memory_from_experts()
    {
        using var log = new LogLines();
        using var loggers = new LoggerFactory([log]);
        using KimiModel model = KimiModel.Open(s_nano, new KimiModelOptions { KvCacheBytes = long.MaxValue, LoggerFactory = loggers });
        Assert.That(model.Generate("What is the capital of France?", s_greedy).Text, Does.Contain("Paris"));
        Assert.That(log.Lines.Single(l => l.Contains("Memory for experts", StringComparison.Ordinal)), Does.Contain("experts fit").And.Not.Contains("-"));
    }

    [Test]
    public void A_model_without_experts_needs_no_memory_for_them()
    {
        using var dense = new SyntheticModel(SyntheticModel.Smallest.Replace("layers=3", "layers=3,dense=3", StringComparison.Ordinal));
        using KimiModel model = KimiModel.Open(dense.Folder, new KimiModelOptions { ExpertMemory = 1_000_000 });
        Assert.That(model.Placement, Does.Contain("weights mapped"));
        Assert.That(model.Generate(new[] { 1, 2, 3 }, s_greedy).Tokens, Is.Not.Empty);
    }

    /// <summary>Without slots the experts are used where the file is mapped, and the kernel reports what is missing by a signal.</summary>
    [TestCase(300_000L)]
    [TestCase(null, IncludePlatform = "Linux")]
    [Platform(Exclude = "Win", Reason = "Nobody may cut a file that is read.")]
    public void A_shard_that_is_cut_fails_calls_and_not_the_process(long? bytes)
    {
        if (bytes is null && System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture != System.Runtime.InteropServices.Architecture.X64)
        {
            Assert.Ignore("Mappings are guarded on x64 alone.");
        }

        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        foreach (string file in Directory.GetFiles(s_nano))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }

        try
        {
            using KimiModel model = KimiModel.Open(folder, new KimiModelOptions { ExpertMemory = bytes });
            model.Generate("What is the capital of France?", s_greedy);
            foreach (string shard in Directory.GetFiles(folder, "*.safetensors"))
            {
                using var stream = new FileStream(shard, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
                stream.SetLength(stream.Length / 3);
            }

            for (int i = 0; i < 2; i++)
            {
                CheckpointException error = Assert.Throws<CheckpointException>(() => model.Generate("Name three animals.", s_greedy))!;
                Assert.That(error.File, Does.EndWith(".safetensors"));
                Assert.That(error.Tensor, Does.StartWith("model."));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private sealed class Reporter(Action<LoadProgress> report) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => report(value);
    }
}
