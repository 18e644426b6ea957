// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Memory;
using KimiCpu.Devices;
using KimiCpu.Generation;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Server;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Cuda;

/// <summary>The device option, on the embedded model over the simulated driver.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class KimiDeviceTests
{
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 3 };

    [Test]
    public void A_model_on_a_GPU_answers_as_on_the_CPU()
    {
        using KimiModel cpu = KimiModel.OpenEmbedded();
        using var driver = new SimulatedDriver();
        using (KimiModel gpu = KimiModel.OpenEmbedded(new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false }))
        {
            Assert.That(gpu.Placement, Does.StartWith("GPU 0: Simulated GPU, compute capability 8.6, CUDA 12.0: all weights as stored").And.Contain("120 routed experts ("));
            int[] prompt = [.. cpu.Tokenizer.Encode("What is the capital of")];
            Assert.That(gpu.Generate(prompt, s_options).Tokens, Is.EqualTo(cpu.Generate(prompt, s_options).Tokens));
            Assert.That(driver.Fault, Is.Null);
        }

        Assert.That(driver.LiveObjects, Is.Zero);
    }

    [Test]
    public void Experts_on_the_GPU_can_be_limited_or_left_out()
    {
        using var driver = new SimulatedDriver();
        foreach (long bytes in new[] { 0L, 4 << 20 })
        {
            using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false, GpuExpertBytes = bytes });
            Assert.That(model.Placement, bytes == 0 ? Does.Not.Contain("routed experts") : Does.Match(" [1-9][0-9]? routed experts"));
            Assert.That(model.Generate((int[])[1, 2, 3], s_options).Tokens, Has.Count.EqualTo(3));
        }

        Assert.That(() => KimiModel.OpenEmbedded(new KimiModelOptions { GpuExpertBytes = -1 }), Throws.InstanceOf<ArgumentException>().With.Message.Contains("GpuExpertBytes"));
    }

    /// <summary>The whole context of tiny-int4, 262,144 tokens, takes 168 MB in BF16 and 103 MB in 8 bits; page-locked memory counts where the driver charges it.</summary>
    [TestCase(64, null, "BF16")]
    [TestCase(128, null, "BF16")]
    [TestCase(128, 100_000, "BF16")]
    [TestCase(128, 262_144, "8-bit")]
    [TestCase(256, 262_144, "BF16")]
    public void The_cache_is_in_8_bits_only_where_a_context_is_asked_for_that_does_not_fit_otherwise(int mebibytes, int? context, string format)
    {
        using var driver = new SimulatedDriver { TotalBytes = (long)(mebibytes + (CudaStream.DriverCollects ? 32 : 0)) << 20 };
        using (KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"), new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false, ContextLength = context }))
        {
            TestContext.Out.WriteLine(model.Placement);
            Assert.That(model.Placement, Does.Not.Contain(format == "8-bit" ? "BF16 cache" : "8-bit cache"));
            Assert.That(model.Placement, Does.Contain($", {format} cache of ").And.Contain(format == "8-bit" ? "all weights in 8 bits" : ""));
            Assert.That(model.Info.CacheBytesPerToken, Is.EqualTo(format == "8-bit" ? 392 : 640));
            Assert.That(model.Info.ContextLength, context is null ? Is.LessThan(262_144) : Is.EqualTo(context));
            Assert.That(model.Generate((int[])[1, 2, 3], s_options).Tokens, Has.Count.EqualTo(3));
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    [Test]
    public void Without_a_usable_GPU_Auto_takes_the_CPU_and_Cuda_refuses()
    {
        using var driver = new SimulatedDriver { DeviceCount = 0 };
        var options = new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = driver.Table, RememberExperts = false };
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        {
            Assert.That(model.Placement, Does.StartWith("CPU: "));
        }

        Assert.That(() => KimiModel.OpenEmbedded(options with { Device = KimiDevice.Cuda(1) }), Throws.TypeOf<KimiException>().With.Message.Contains("No usable NVIDIA GPU"));
        Assert.That(() => KimiModel.OpenEmbedded(options with { Device = KimiDevice.Cuda(), Exact = true }), Throws.ArgumentException.With.Message.Contains("cuda:0"));
        Assert.That(driver.LiveObjects, Is.Zero);
    }

    /// <summary>As where a display has a card of its own: an older one, or one with little memory.</summary>
    [Test]
    public void Auto_takes_the_first_GPU_that_suits_and_has_the_memory([Values] bool old)
    {
        using var driver = new SimulatedDriver { DeviceCount = 3 };
        if (old)
        {
            driver.ComputeCapabilityOf[0] = (7, 5);
        }
        else
        {
            driver.TotalBytesOf[0] = 64 << 10;
        }

        using var log = new LogLines();
        using ILoggerFactory factory = LoggerFactory.Create(b => b.AddProvider(log));
        var options = new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = driver.Table, RememberExperts = false, LoggerFactory = factory };
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        {
            Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(1)));
            Assert.That(model.Placement, Does.StartWith("GPU 1: Simulated GPU"));
            Assert.That(model.Generate((int[])[1, 2, 3], s_options).Tokens, Has.Count.EqualTo(3));
            Assert.That(log.Lines, Has.Some.Match("GPU 1 .*is used, since no GPU before it can be. GPU 0: ").And.Some.Contains(old ? "7.5; 8.0" : "does not fit the GPU"));
            Assert.That(log.Lines, Has.None.Contains("runs on the CPU"));
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
        Assert.That(() => KimiModel.OpenEmbedded(options with { Device = KimiDevice.Cuda(0) }), Throws.TypeOf<KimiException>(), "asked for by number");
    }

    /// <summary>As after the model was downloaded: a GPU within the processor has what the process may take, however much of it the driver counts as taken by pages of files.</summary>
    [Test]
    public void A_GPU_within_the_processor_is_used_where_files_fill_its_memory([Values] bool shares)
    {
        using var driver = new SimulatedDriver { SharesMemory = shares, CachedBytes = SimulatedDriver.DefaultBytes - (64 << 10) };
        var options = new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = driver.Table, RememberExperts = false };
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        {
            Assert.That(model.Activity.Device, Is.EqualTo(shares ? KimiDevice.Cuda(0) : KimiDevice.Cpu));
            Assert.That(model.Placement, shares ? Does.Contain(": all weights as stored (") : Does.StartWith("CPU: "));
            Assert.That(model.Generate((int[])[1, 2, 3], s_options).Tokens, Has.Count.EqualTo(3));
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    /// <summary>With fewer tokens than are asked for prompts would fail that the next GPU, or the CPU, takes.</summary>
    [Test]
    public void Auto_passes_a_GPU_over_that_does_not_hold_the_context([Values] bool second, [Values] bool asked)
    {
        // A little more than weights in 8 bits and activations take.
        using var driver = new SimulatedDriver { DeviceCount = second ? 2 : 1, TotalBytesOf = { [0] = LeastBytes() + (3 << 18) } };
        using var log = new LogLines();
        using ILoggerFactory factory = LoggerFactory.Create(b => b.AddProvider(log));
        var options = new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = driver.Table, RememberExperts = false, LoggerFactory = factory, ContextLength = asked ? 8000 : null };
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        {
            Assert.That(model.Activity.Device, Is.EqualTo(second ? KimiDevice.Cuda(1) : KimiDevice.Cpu));
            Assert.That(model.Info.ContextLength, Is.GreaterThanOrEqualTo(asked ? 8000 : 4096));
            Assert.That(log.Lines, Has.Some.Contains(second ? "GPU 0: The GPU has room for" : "The model runs on the CPU. The GPU has room for").And.Some.Contains(asked ? "and 8,000 are to fit" : "and 4,096 are to fit"));
        }

        using (KimiModel model = KimiModel.OpenEmbedded(options with { Device = KimiDevice.Cuda(0) }))
        {
            Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(0)));
            Assert.That(model.Info.ContextLength, Is.InRange(64, 4095));
        }

        // Bytes that hold fewer tokens are asked for as well.
        using (KimiModel model = KimiModel.OpenEmbedded(options with { KvCacheBytes = 100_000 }))
        {
            Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(0)));
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    /// <summary>The cache has what all else leaves, so a larger budget would change nothing.</summary>
    [TestCase(false, false, "set KimiModelOptions.ContextLength")]
    [TestCase(true, false, "open the model with more of the GPU's memory free")]
    [TestCase(false, true, "raise KimiModelOptions.KvCacheBytes")]
    public void A_cache_that_a_GPU_has_no_room_for_is_not_said_to_grow_by_its_budget(bool asked, bool limited, string remedy)
    {
        using var driver = new SimulatedDriver { TotalBytes = LeastBytes() + (3 << 18) };
        using var log = new LogLines();
        using ILoggerFactory factory = LoggerFactory.Create(b => b.AddProvider(log));
        var options = new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false, LoggerFactory = factory, ContextLength = asked ? 8000 : null, KvCacheBytes = limited ? 100_000 : null };
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        {
            string warning = log.Lines.Single(l => l.Contains("tokens of the context.", StringComparison.Ordinal));
            var prompt = new int[model.Info.ContextLength + 1];
            ContextLengthException refused = Assert.Throws<ContextLengthException>(() => model.Generate(prompt, s_options))!;
            foreach (string text in new[] { warning, refused.Message })
            {
                Assert.That(text, Does.Contain("To have more, ").And.Contain(remedy));
                Assert.That(text.Contains("KvCacheBytes", StringComparison.Ordinal), Is.EqualTo(limited));
            }
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    /// <summary>Nobody has asked for the model's whole context, and 32,768 tokens are what weights make room for.</summary>
    [Test]
    public void A_cache_that_holds_what_is_usual_is_no_reason_for_a_warning()
    {
        using var driver = new SimulatedDriver();
        using var log = new LogLines();
        using ILoggerFactory factory = LoggerFactory.Create(b => b.AddProvider(log));
        using KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"), new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false, LoggerFactory = factory });
        Assert.That(model.Info.ContextLength, Is.InRange(32_768, 262_143));
        Assert.That(log.Lines, Has.None.Contains("tokens of the context"));
    }

    [Test]
    public void Where_no_GPU_will_do_the_log_says_of_each_why()
    {
        using var driver = new SimulatedDriver { DeviceCount = 2, ComputeCapabilityOf = { [0] = (7, 5) }, TotalBytesOf = { [1] = 64 << 10 } };
        using var log = new LogLines();
        using ILoggerFactory factory = LoggerFactory.Create(b => b.AddProvider(log));
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = driver.Table, RememberExperts = false, LoggerFactory = factory });
        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cpu));
        string line = log.Lines.Single(l => l.Contains("The model runs on the CPU.", StringComparison.Ordinal));
        Assert.That(line, Does.Contain("GPU 0: Simulated GPU has compute capability 7.5").And.Contain("GPU 1: The model does not fit"));
        Assert.That(driver.LiveObjects, Is.Zero);
    }

    [Test]
    public void Exact_arithmetic_takes_the_CPU_and_the_log_says_so()
    {
        using var driver = new SimulatedDriver();
        using var log = new LogLines();
        using ILoggerFactory factory = LoggerFactory.Create(b => b.AddProvider(log));
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Device = KimiDevice.Auto, Exact = true, CudaDriver = driver.Table, RememberExperts = false, LoggerFactory = factory });
        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cpu));
        Assert.That(log.Lines.Count(l => l.Contains("The model runs on the CPU, since KimiModelOptions.Exact is set", StringComparison.Ordinal)), Is.EqualTo(1));
        Assert.That(driver.Calls, Is.Zero);
    }

    /// <summary>Whoever has enough of the opening does not want the next card. Who ends it may leave the thread another context, and all is given back all the same.</summary>
    [Test]
    public void An_opening_that_is_cancelled_tries_no_other_GPU([Values(0, 77)] int contextLeft)
    {
        using var driver = new SimulatedDriver { DeviceCount = 2 };
        var ending = new Told<LoadProgress>(report =>
        {
            if (report.Phase == "gpu")
            {
                driver.ContextOfThread = contextLeft > 0 ? contextLeft : driver.ContextOfThread;
                throw new OperationCanceledException();
            }
        });
        var options = new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = driver.Table, RememberExperts = false, Progress = ending };
        Assert.That(() => KimiModel.OpenEmbedded(options), Throws.InstanceOf<OperationCanceledException>());
        Assert.That((driver.CallsOf["cuDevicePrimaryCtxRetain"], driver.LiveObjects, driver.Fault), Is.EqualTo((1, 0, (string?)null)));
    }

    /// <summary>An application may use CUDA too, with another GPU that it has made its thread's, and record graphs, which calls in another mode than the thread's own would break.</summary>
    [Test]
    public void The_application_keeps_its_own_context([Values(0, 77)] int own, [Values] bool tunes)
    {
        const CaptureMode Relaxed = (CaptureMode)2;
        CaptureMode mode = own == 0 ? CaptureMode.Global : Relaxed;
        string file = Path.Combine(TestContext.CurrentContext.WorkDirectory, $"{Guid.NewGuid():N}.json");
        using var driver = new SimulatedDriver { ContextOfThread = own, ModeOfThread = mode };
        try
        {
            var options = new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false, TuneThreads = tunes, Threads = 2, ThreadsFile = file };
            using (KimiModel model = KimiModel.OpenEmbedded(options))
            {
                Assert.That((driver.ContextOfThread, driver.ModeOfThread), Is.EqualTo(((nint)own, mode)));
                Assert.That(model.Generate((int[])[1, 2, 3], s_options).Tokens, Has.Count.EqualTo(3));
            }

            Assert.That((driver.ContextOfThread, driver.ModeOfThread, driver.LiveObjects), Is.EqualTo(((nint)own, mode, 0)));
            (driver.FailingFunction, driver.Failure) = ("cuStreamCreateWithPriority", CUResult.ErrorUnknown);
            Assert.That(() => KimiModel.OpenEmbedded(options), Throws.TypeOf<KimiException>());
            Assert.That((driver.ContextOfThread, driver.ModeOfThread, driver.LiveObjects, driver.Fault), Is.EqualTo(((nint)own, mode, 0, (string?)null)));
        }
        finally
        {
            driver.ContextOfThread = 0;
            File.Delete(file);
        }
    }

    [Test]
    public void Whoever_wants_more_calls_at_once_than_a_step_has_room_for_is_told([Values(64, 100)] int wanted)
    {
        using var log = new LogLines();
        using ILoggerFactory factory = LoggerFactory.Create(logging => logging.AddProvider(log));
        using var driver = new SimulatedDriver();
        var options = new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false, LoggerFactory = factory, Scheduling = new SchedulingOptions { MaxRunning = wanted } };
        using KimiModel model = KimiModel.OpenEmbedded(options);
        Assert.That(model.MaxRunning, Is.EqualTo(64));
        Assert.That(log.Lines.Count(l => l.Contains("MaxRunning is 100, but a step has room for 64 answers", StringComparison.Ordinal)), Is.EqualTo(wanted == 64 ? 0 : 1));
    }

    /// <summary>Reports come in the middle of steps, and while weights are copied.</summary>
    [Test]
    public void Who_is_told_of_progress_may_leave_the_thread_another_context()
    {
        using var driver = new SimulatedDriver();
        var context = new Told<LoadProgress>(_ => driver.ContextOfThread = 77);
        var options = new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, RememberExperts = false, Progress = context };
        using (KimiModel model = KimiModel.OpenEmbedded(options))
        {
            var prompt = new Told<PromptProgress>(_ => driver.ContextOfThread = 77);
            Assert.That(model.Generate((int[])[1, 2, 3], s_options with { PromptProgress = prompt }).Tokens, Has.Count.EqualTo(3));
            Assert.That(context.Times, Is.Positive);
            Assert.That(prompt.Times, Is.Positive);
        }

        driver.ContextOfThread = 0;
        Assert.That(driver.Fault, Is.Null);
    }

    [Test]
    public void Devices_are_read_and_written_alike()
    {
        foreach (string text in new[] { "cpu", "auto", "cuda:0", "cuda:12" })
        {
            Assert.That(KimiDevice.Parse(text).ToString(), Is.EqualTo(text));
        }

        Assert.That(KimiDevice.Parse("cuda"), Is.EqualTo(KimiDevice.Cuda(0)));
        Assert.That(() => KimiDevice.Parse("cuda:-1"), Throws.TypeOf<FormatException>().With.Message.Contains("cuda:N"));
    }

    private sealed class Told<T>(Action<T> then) : IProgress<T>
    {
        public int Times { get; private set; }

        public void Report(T value)
        {
            Times++;
            then(value);
        }
    }

    /// <summary>Bytes of a GPU that hold one page of kimi-nano's cache.</summary>
    private static long LeastBytes()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.NanoModel);
        ModelWeights weights = WeightLoader.Load(checkpoint);
        (long low, long high) = (0, SimulatedDriver.DefaultBytes);
        while (high - low > 1)
        {
            long middle = (low + high) / 2;
            (low, high) = Fits(middle) ? (low, middle) : (middle, high);
        }

        return high;

        bool Fits(long bytes)
        {
            try
            {
                return MemoryPlan.Fit(weights, new MemoryWish(ModelMemory.UsualChunk + GpuOpening.DecodeRows, ContextTokens: 64, ChargesLocked: CudaStream.DriverCollects), bytes).Pages > 0;
            }
            catch (CudaException)
            {
                return false;
            }
        }
    }
}
