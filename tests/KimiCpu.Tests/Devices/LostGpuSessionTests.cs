// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.Compression;
using KimiCpu.Cuda.Driver;
using KimiCpu.Generation;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Server;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Devices;

/// <summary>
/// Sessions whose cache was lost with a GPU: they know their tokens, and never go on from what is not there. The GPU's cache is BF16 as the CPU's, or in
/// 8 bits, of other sizes.
/// </summary>
[TestFixture(false)]
[TestFixture(true)]
[Parallelizable(ParallelScope.Self)]
internal sealed class LostGpuSessionTests(bool int8)
{
    private static readonly string s_checkpoint = Repository.Checkpoint("tiny-int4");
    private static readonly int[] s_text = [.. Enumerable.Range(0, 80).Select(i => i * 13 % 500)];
    private static readonly int[] s_longer = [.. s_text, 1, 2, 3];
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 3, LogProbabilities = true, IgnoreEndOfText = true };

    private string _folder = "";
    private SimulatedDriver _driver = null!;
    private GenerationResult _expected = null!;
    private int _keptTokens;

    [OneTimeSetUp]
    public void RunOnCpu()
    {
        using KimiModel cpu = OpenCpu();
        using KimiSession session = cpu.CreateSession();
        _expected = cpu.Generate(s_longer, s_options);
        session.Generate(s_text, s_options);
        _keptTokens = session.TokenCount;
    }

    [SetUp]
    public void StartDriver()
    {
        _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        _driver = new SimulatedDriver();
    }

    [TearDown]
    public void StopDriver()
    {
        string? fault = _driver.Fault;
        _driver.Dispose();
        Directory.Delete(_folder, recursive: true);
        Assert.That(fault, Is.Null);
    }

    [Test]
    public void A_session_computes_its_tokens_again_with_its_next_call([Values] bool prefixCaching)
    {
        using KimiModel model = Open(prefixCaching);
        using (KimiSession session = model.CreateSession())
        {
            session.Generate(s_text, s_options);
            LoseGpu(model);
            Assert.That(session.TokenCount, Is.EqualTo(_keptTokens));
            using KimiSession branch = session.Branch();
            GenerationResult result = session.Generate(s_longer, s_options);
            Same(result);
            Assert.That(result.Usage.CachedTokens, Is.Zero);
            result = session.Generate(s_longer, s_options);
            Same(result);
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(s_longer.Length - 1), "now they are there");
            Assert.That(branch.TokenCount, Is.EqualTo(_keptTokens));
            Same(branch.Generate(s_longer, s_options));
        }

        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    [Test]
    public void A_session_that_is_saved_after_the_loss_is_computed_first()
    {
        string path = Path.Combine(_folder, "after");
        using (KimiModel model = Open())
        using (KimiSession session = model.CreateSession())
        {
            session.Generate(s_text, s_options);
            session.ApplicationData = new byte[] { 1, 2 };
            LoseGpu(model);
            session.Save(path);
            Assert.That(session.TokenCount, Is.EqualTo(_keptTokens));
            GenerationResult result = session.Generate(s_longer, s_options);
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(s_text.Length), "saving has brought them back");
            Same(result);
        }

        // The file is one of a model on the CPU.
        using KimiModel cpu = OpenCpu();
        using KimiSession loaded = cpu.LoadSession(path);
        Assert.That((loaded.TokenCount, loaded.ApplicationData.Length), Is.EqualTo((_keptTokens, 2)));
        GenerationResult next = loaded.Generate(s_longer, s_options);
        Assert.That(next.Usage.CachedTokens, Is.EqualTo(s_text.Length));
        Same(next);
    }

    [Test]
    public void A_file_of_before_the_loss_is_loaded_after_it_and_computed_again()
    {
        string path = Path.Combine(_folder, "before");
        using (KimiModel model = Open())
        {
            using (KimiSession session = model.CreateSession())
            {
                session.Generate(s_text, s_options);
                session.ApplicationData = new byte[] { 1, 2 };
                session.Save(path);
            }

            LoseGpu(model);
            using KimiSession loaded = model.LoadSession(path);
            Assert.That((loaded.TokenCount, loaded.ApplicationData.Length), Is.EqualTo((_keptTokens, 2)));
            loaded.Save(path + "2");
            Same(loaded.Generate(s_longer, s_options));
        }

        using KimiModel cpu = OpenCpu();
        using (KimiSession first = cpu.LoadSession(path))
        {
            GenerationResult computed = first.Generate(s_longer, s_options);
            Assert.That(computed.Usage.CachedTokens, Is.Zero);
            Same(computed);
        }

        using KimiSession second = cpu.LoadSession(path + "2");
        Assert.That(second.TokenCount, Is.EqualTo(_keptTokens));
    }

    [Test]
    public void A_GPU_that_is_lost_while_a_session_is_saved_leaves_the_file_as_it_was()
    {
        string path = Path.Combine(_folder, "session");
        using KimiModel model = Open();
        using KimiSession session = model.CreateSession();
        session.Generate(s_text, s_options);
        session.Save(path);
        byte[] before = File.ReadAllBytes(path);
        (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorIllegalAddress, "cuMemcpyDtoHAsync");
        Assert.That(() => session.Save(path), Throws.TypeOf<KimiException>().With.Message.Contains("cuMemcpyDtoHAsync").And.Message.Contains("runs on the CPU from here on"));
        Assert.That(File.ReadAllBytes(path), Is.EqualTo(before));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cpu));
        session.Save(path);
        Same(session.Generate(s_longer, s_options));
    }

    /// <summary>A model to come has the conversation then, and computes it again. The session's own cache was on the GPU, or in a file of other arithmetic.</summary>
    [Test]
    public void Where_nothing_but_the_lost_GPU_is_allowed_a_session_is_saved_without_its_cache([Values] bool bySave, [Values] bool fromFile)
    {
        string path = Path.Combine(_folder, "session");
        using (KimiModel cpu = OpenCpu())
        using (KimiSession session = cpu.CreateSession())
        {
            session.Generate(s_text, s_options);
            session.Save(path);
        }

        using var log = new LogLines();
        using ILoggerFactory loggers = LoggerFactory.Create(builder => builder.AddProvider(log));
        using (KimiModel model = Open(device: KimiDevice.Cuda(), loggers: loggers))
        using (KimiSession session = fromFile ? model.LoadSession(path) : model.CreateSession())
        {
            if (!fromFile)
            {
                session.Generate(s_text, s_options);
            }

            session.ApplicationData = new byte[] { 1, 2 };
            (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorIllegalAddress, !bySave ? "cuGraphLaunch" : fromFile ? "cuLaunchKernel" : "cuMemcpyDtoHAsync");
            if (!bySave)
            {
                Assert.That(() => model.Generate(new[] { 1, 2 }, s_options), Throws.TypeOf<KimiException>());
            }

            for (int i = 0; i < 2; i++)
            {
                var parts = new List<double>();
                session.Save(path, new Immediate(parts.Add));
                Assert.That(model.Activity.Failure, Is.Not.Null);
                Assert.That(parts, Is.Ordered.And.Some.EqualTo(1));
                Assert.That(new FileInfo(path).Length, Is.LessThan(1000), "there is no cache in it");
            }

            Assert.That(log.Lines.Count(l => l.StartsWith("Warning", StringComparison.Ordinal) && l.Contains("without its cache", StringComparison.Ordinal) && l.Contains(path, StringComparison.Ordinal)), Is.EqualTo(2));
            Assert.That(() => session.Save(Path.Combine(_folder, "none", "x")), Throws.TypeOf<DirectoryNotFoundException>());
            Assert.That(() => session.Save(path, cancellationToken: new CancellationToken(true)), Throws.InstanceOf<OperationCanceledException>());
        }

        using KimiModel next = OpenCpu();
        using KimiSession loaded = next.LoadSession(path);
        Assert.That((loaded.TokenCount, loaded.ApplicationData.ToArray()), Is.EqualTo((_keptTokens, new byte[] { 1, 2 })));
        loaded.Save(path);
        using KimiSession again = next.LoadSession(path);
        GenerationResult result = again.Generate(s_longer, s_options);
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(s_text.Length), "saving has computed them");
        Same(result);
    }

    /// <summary>What was written of its pages by then is taken back, or where it cannot be, the save fails and the next one has the tokens.</summary>
    [Test]
    public void A_stream_has_no_half_cache_before_a_session_without_one([Values] bool seeks)
    {
        using KimiModel model = Open(device: KimiDevice.Cuda());
        using KimiSession session = model.CreateSession();
        session.Generate(s_text, s_options);
        (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorIllegalAddress, "cuMemcpyDtoHAsync");
        using var stream = new MemoryStream();
        stream.Write("before"u8);
        if (seeks)
        {
            session.Save(stream);
        }
        else
        {
            using var packed = new DeflateStream(new MemoryStream(), CompressionLevel.Fastest);
            Assert.That(() => session.Save(packed), Throws.TypeOf<KimiException>());
            session.Save(stream);
        }

        Assert.That(model.Activity.Failure, Is.Not.Null);
        Assert.That(stream.Length, Is.LessThan(1000), "there is no cache in it");
        stream.Position = "before".Length;
        using KimiModel next = OpenCpu();
        using KimiSession loaded = next.LoadSession(stream);
        Assert.That(loaded.TokenCount, Is.EqualTo(_keptTokens));
    }

    [Test]
    public void A_GPU_that_is_lost_while_a_session_is_loaded_leaves_nothing_behind()
    {
        string path = Path.Combine(_folder, "session");
        using KimiModel model = Open();
        using (KimiSession session = model.CreateSession())
        {
            session.Generate(s_text, s_options);
            session.Save(path);
        }

        (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorIllegalAddress, "cuMemcpyHtoDAsync");
        Assert.That(() => model.LoadSession(path), Throws.TypeOf<KimiException>().With.Message.Contains("cuMemcpyHtoDAsync"));
        using KimiSession loaded = model.LoadSession(path);
        Same(loaded.Generate(s_longer, s_options));
    }

    /// <summary>Where texts part within a page the cache copies it, before the call's first step.</summary>
    [Test]
    public void A_GPU_that_is_lost_between_steps_fails_the_call_that_was_to_begin()
    {
        using KimiModel model = Open();
        model.Generate(s_text, s_options);
        (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorIllegalAddress, "cuMemcpyDtoDAsync");
        Assert.That(() => model.Generate(s_longer, s_options), Throws.TypeOf<KimiException>().With.Message.Contains("cuMemcpyDtoDAsync").And.Message.Contains("runs on the CPU from here on"));
        Same(model.Generate(s_longer, s_options));
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    /// <summary>No step has failed, however often that is tried.</summary>
    [Test]
    [CancelAfter(300_000)]
    public void Saves_that_fail_one_after_the_other_leave_the_model_on_the_GPU()
    {
        string path = Path.Combine(_folder, "session");
        using KimiModel model = Open();
        using KimiSession session = model.CreateSession();
        session.Generate(s_text, s_options);
        for (int i = 0; i < 3; i++)
        {
            (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorOutOfMemory, "cuMemcpyDtoHAsync");
            Assert.That(() => session.Save(path), Throws.TypeOf<KimiException>().With.Message.Contains("cuMemcpyDtoHAsync").And.Message.Contains("next call runs on it again"));
        }

        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(0)));
        session.Save(path);
        using KimiSession loaded = model.LoadSession(path);
        Assert.That(loaded.TokenCount, Is.EqualTo(_keptTokens));
    }

    /// <summary>The pages of those that run have not changed.</summary>
    [Test]
    [CancelAfter(300_000)]
    public async Task A_copy_that_fails_before_a_call_s_first_step_ends_that_call_alone(CancellationToken cancellationToken)
    {
        using KimiModel model = Open();
        model.Generate(s_text, s_options, cancellationToken);
        var begun = new TaskCompletionSource();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<int> running = Task.Run(async () =>
        {
            int updates = 0;
            try
            {
                await foreach (GenerationUpdate update in model.GenerateAsync(new[] { 7, 1, 2 }, s_options with { MaxTokens = 5000 }, stop.Token))
                {
                    updates++;
                    begun.TrySetResult();
                }
            }
            catch (OperationCanceledException)
            {
            }

            return updates;
        }, cancellationToken);
        await begun.Task.WaitAsync(cancellationToken);
        (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorOutOfMemory, "cuMemcpyDtoDAsync");
        Assert.That(() => model.Generate(s_longer, s_options, cancellationToken), Throws.TypeOf<KimiException>().With.Message.Contains("cuMemcpyDtoDAsync").And.Message.Contains("next call runs on it again"));
        Assert.That(() => model.Activity.RunningCalls, Is.EqualTo(1).After(60_000, 5));
        Assert.That(running.IsCompleted, Is.False);
        await stop.CancelAsync();
        Assert.That(await running, Is.Positive);
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    private void Same(GenerationResult found)
    {
        Assert.That(found.Tokens, Is.EqualTo(_expected.Tokens));
        Assert.That(found.LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(_expected.LogProbabilities.Select(l => l.LogProbability)), "to the bit");
    }

    private void LoseGpu(KimiModel model)
    {
        Assert.That(model.Info.CacheBytesPerToken, Is.EqualTo(4 * (int8 ? 64 + 2 + (2 * 16) : 2 * (64 + 16))));
        Assert.That(model.Placement, Does.Contain(int8 ? ", 8-bit cache of" : ", BF16 cache of"));
        (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorIllegalAddress, "cuGraphLaunch");
        Assert.That(() => model.Generate(new[] { 1, 2 }, s_options), Throws.TypeOf<KimiException>());
        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cpu));
        Assert.That(model.Info.CacheBytesPerToken, Is.EqualTo(4 * 2 * (64 + 16)));
    }

    private static KimiModel OpenCpu() => KimiModel.Open(s_checkpoint);

    /// <summary>So many tokens take 77 MB in BF16, more than the GPU has, and 47 MB in 8 bits.</summary>
    private KimiModel Open(bool prefixCaching = true, KimiDevice? device = null, ILoggerFactory? loggers = null) => KimiModel.Open(s_checkpoint, new KimiModelOptions { LoggerFactory = loggers, ContextLength = int8 ? 120_000 : null, Device = device ?? KimiDevice.Auto, CudaDriver = _driver.Table, RememberExperts = false, PrefixCaching = prefixCaching, PrefillChunk = 16 });

    private sealed class Immediate(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
