// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.RegularExpressions;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Memory;
using KimiCpu.Devices;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Server;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Devices;

/// <summary>What a GPU has takes no main memory, until the CPU has to take its place.</summary>
[TestFixture]
internal sealed class MemoryBesideGpuTests
{
    private const int Context = 256;
    private const long Available = 4_000_000_000;
    private static readonly int[] s_tokens = [5, 9, 100, 17];

    private SimulatedDriver _driver = null!;
    private Checkpoint _checkpoint = null!;
    private LogLines _log = null!;

    [SetUp]
    public void Open()
    {
        _driver = new SimulatedDriver { TotalBytes = 256 << 20 };
        _checkpoint = Checkpoint.Open(Repository.NanoModel);
        _log = new LogLines();
    }

    [TearDown]
    public void Close()
    {
        _checkpoint.Dispose();
        _driver.Dispose();
        _log.Dispose();
    }

    [Test]
    public void Weights_that_a_GPU_has_leave_main_memory_and_come_back_when_it_is_lost([Values] bool int8HotPath)
    {
        KimiModelOptions options = Options() with { ExpertMemory = 4_000_000, Int8HotPath = int8HotPath };
        using ModelDevices cpu = Devices(options with { Device = KimiDevice.Cpu });
        using ModelDevices devices = Devices(options);
        long embedding = InBlocks(_checkpoint.Get("model.embed_tokens.weight"));
        Assert.That(devices.Device, Is.EqualTo(KimiDevice.Cuda(0)));
        Assert.That(devices.ResidentBytes, Is.EqualTo(embedding));
        Lose(devices);
        Assert.That(devices.ResidentBytes, Is.EqualTo(cpu.ResidentBytes).And.GreaterThan(embedding));
        Assert.That(Logits(devices.Runner), Is.EqualTo(Logits(cpu.Runner)), "to the bit");
    }

    [Test]
    public void Weights_that_are_copied_to_8_bits_leave_main_memory()
    {
        using ModelDevices stored = Devices(Options() with { Device = KimiDevice.Cpu, ExpertMemory = 4_000_000 });
        using ModelDevices copied = Devices(Options() with { Device = KimiDevice.Cpu, ExpertMemory = 4_000_000, Int8HotPath = true });
        Assert.That(copied.ResidentBytes, Is.LessThan(stored.ResidentBytes / 2));
    }

    [Test]
    public void A_CPU_that_takes_the_place_of_a_GPU_takes_memory_from_experts([Values] bool asked)
    {
        KimiModelOptions options = Options() with { KvCacheBytes = 200_000, Int8HotPath = true };
        long experts = _checkpoint.Tensors.Values.Where(t => t.IsRoutedExpert).Sum(t => t.Length);
        long available = Bisect(a => Slots(Memory(options, a), onGpu: true), experts * 9 / 10);
        long beside = Slots(Memory(options, available), onGpu: true);
        long alone = Slots(Memory(options, available), onGpu: false);
        Assert.That(alone, Is.InRange(1, beside - 1_000_000));
        using ModelDevices devices = Devices(asked ? options with { ExpertMemory = beside } : options, available);
        int[] slots = NumbersIn(devices.Placement, "([0-9,]+) of [0-9,]+ experts in");
        Assert.That(_log.Lines, Has.None.Contains("slots hold"));
        Lose(devices);
        int left = NumbersIn(string.Join('\n', _log.Lines), "([0-9,]+) of [0-9,]+ slots hold experts now")[^1];
        Assert.That((double)left / slots[0], Is.EqualTo((double)alone / beside).Within(0.02));
        Assert.That(NumbersIn(devices.Placement, "([0-9,]+) of [0-9,]+ experts in"), Is.EqualTo(new[] { left }));
        Assert.That(Logits(devices.Runner), Has.All.Matches<float>(float.IsFinite));
    }

    [Test]
    public void Experts_that_fit_beside_a_GPU_alone_are_read_from_drives_where_there_is_none_or_it_shares_memory([Values] bool sharesMemory)
    {
        long cache = CacheThatLeavesSlotsOnTheCpu();
        if (sharesMemory)
        {
            _driver.Dispose();
            _driver = new SimulatedDriver { TotalBytes = 256 << 20, SharesMemory = true };
        }
        else
        {
            (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorNoDevice, "cuInit");
        }

        List<(int Done, int Total)> parts = [];
        var progress = new Reports(p => parts.Add((p.Done, p.Total)), "weights");
        KimiModelOptions options = Options() with { KvCacheBytes = cache, Progress = progress };
        Assert.That(Memory(options, Available).Divide(onGpu: true).Experts.SlotBytes, Is.Null);
        using ModelDevices devices = Devices(options);
        Assert.That((devices.Device, devices.ReadsDrives), Is.EqualTo((sharesMemory ? KimiDevice.Cuda(0) : KimiDevice.Cpu, true)));
        Assert.That(parts.Select(p => p.Done), Is.EqualTo(sharesMemory ? [] : Enumerable.Range(1, _checkpoint.Config.LayerCount + 1)), "counted up once, where the CPU reads them");
        using ModelDevices mapped = Devices(Options() with { Device = sharesMemory ? KimiDevice.Auto : KimiDevice.Cpu });
        Assert.That(mapped.ReadsDrives, Is.False);
        Assert.That(Logits(devices.Runner), Is.EqualTo(Logits(mapped.Runner)));
    }

    [Test]
    public void A_model_that_does_not_fit_is_told_what_would_take_less([Values] bool onGpu, [Values] bool int8HotPath)
    {
        ModelMemory memory = Memory(Options() with { Int8HotPath = int8HotPath }, 1_000_000);
        KimiException error = Assert.Throws<KimiException>(() => memory.Divide(onGpu))!;
        Assert.That(error.Message.Contains("PrefillChunk", StringComparison.Ordinal), Is.EqualTo(onGpu));
        Assert.That(error.Message.Contains("ContextLength", StringComparison.Ordinal), Is.EqualTo(!onGpu));
        Assert.That(error.Message.Contains("Int8HotPath", StringComparison.Ordinal), Is.EqualTo(!onGpu && !int8HotPath));
    }

    /// <summary>Where promises are counted, copies take theirs beside what they replace.</summary>
    [Test]
    public void Copies_in_8_bits_are_named_where_the_system_promises_enough([Values] bool promises)
    {
        var summary = CheckpointSummary.Of(_checkpoint);
        long letGo = (long)HotPathMemory.LetGo(summary, _checkpoint.Config, int8HotPath: true, onGpu: false);
        const long Little = 1_000_000;
        var free = new ProcessMemory(Little, Little, null) { UnpromisedBytes = Little + (promises ? letGo : 0) };
        var memory = new ModelMemory(_checkpoint, WeightLoader.ShapeOf(_checkpoint.Config), Options(), Context, free);
        KimiException error = Assert.Throws<KimiException>(() => memory.Divide(onGpu: false))!;
        Assert.That(error.Message.Contains("Int8HotPath", StringComparison.Ordinal), Is.EqualTo(promises));
    }

    /// <summary>As on a card of 12 GB: large steps suit drives, but nobody has asked for them.</summary>
    [Test]
    public void Steps_that_nobody_has_asked_for_give_way_where_the_GPU_has_little_memory()
    {
        KimiModelOptions options = Options() with { ExpertMemory = 4_000_000 };
        int large = Memory(options, Available).LargePrefillChunk;
        (long most, long least) = (LeastOnGpu(large), LeastOnGpu(ModelMemory.UsualChunk));
        TestContext.Out.WriteLine($"{large} tokens in {most}, {ModelMemory.UsualChunk} in {least} bytes");
        foreach ((long bytes, int lowest, int highest) in new[] { (most, large, large), (most - 1, large / 3, large / 2), (least, ModelMemory.UsualChunk, ModelMemory.UsualChunk) })
        {
            OnGpuOf(bytes);
            using ModelDevices devices = Devices(options with { CudaDriver = _driver.Table });
            Assert.That((devices.Device, devices.ReadsDrives, devices.DecodeRows), Is.EqualTo((KimiDevice.Cuda(0), true, GpuOpening.DecodeRows)));
            Assert.That(devices.Runner.PrefillChunk, Is.InRange(lowest, highest));
            Assert.That(devices.Runner.Cache.PageCapacity * KvPage.Tokens, Is.GreaterThanOrEqualTo(Context));
            Assert.That(Logits(devices.Runner), Has.All.Matches<float>(float.IsFinite));
        }

        OnGpuOf(least);
        using ModelDevices asked = Devices(options with { CudaDriver = _driver.Table, PrefillChunk = large });
        Assert.That(asked.Device, Is.EqualTo(KimiDevice.Cpu));
        Assert.That(_log.Lines, Has.Some.Contains("The model does not fit the GPU").And.Some.Contains("lower PrefillChunk"));
    }

    /// <summary>From so many tokens of a sequence in a step on the CPU attends another way, with other last bits, and each step reads its experts anew.</summary>
    [Test]
    [CancelAfter(300_000)]
    public void A_CPU_that_takes_the_place_of_a_GPU_has_its_own_steps()
    {
        OnGpuOf(LeastOnGpu(ModelMemory.UsualChunk));
        KimiModelOptions options = Options() with { ExpertMemory = 4_000_000 };
        using ModelDevices cpu = Devices(options with { Device = KimiDevice.Cpu });
        using ModelDevices devices = Devices(options);
        Assert.That((devices.Device, devices.Runner.PrefillChunk), Is.EqualTo((KimiDevice.Cuda(0), ModelMemory.UsualChunk)));
        Lose(devices);
        Assert.That(devices.Runner.PrefillChunk, Is.EqualTo(cpu.Runner.PrefillChunk).And.GreaterThan(2 * ModelMemory.UsualChunk));
    }

    /// <summary>There is nothing to divide where the system brings weights in and takes them out again.</summary>
    [Test]
    public void Mapped_weights_are_used_by_the_CPU_however_large_the_GPU_s_cache_was_to_be()
    {
        using ModelDevices devices = Devices(Options() with { KvCacheBytes = Available - 1 });
        Assert.That(devices.ReadsDrives, Is.False);
        Lose(devices);
        Assert.That(Logits(devices.Runner), Has.All.Matches<float>(float.IsFinite));
    }

    /// <summary>Bytes for slots; all where experts need none, -1 where nothing fits.</summary>
    private static long Slots(ModelMemory memory, bool onGpu)
    {
        try
        {
            return memory.Divide(onGpu).Experts.SlotBytes ?? long.MaxValue;
        }
        catch (KimiException)
        {
            return -1;
        }
    }

    /// <summary>What gives so many bytes, or a little more, of what grows.</summary>
    private static long Bisect(Func<long, long> growing, long wanted)
    {
        (long low, long high) = (0, Available);
        while (high - low > 1)
        {
            long middle = (low + high) / 2;
            (low, high) = growing(middle) < wanted ? (middle, high) : (low, middle);
        }

        return high;
    }

    private static int[] NumbersIn(string text, string pattern) =>
        [.. Regex.Matches(text, pattern).Select(m => int.Parse(m.Groups[1].Value, NumberStyles.AllowThousands, CultureInfo.InvariantCulture))];

    /// <summary>Bytes of the whole blocks that reads of a tensor take.</summary>
    private static long InBlocks(TensorEntry entry)
    {
        const long Block = IWeightFiles.Alignment;
        return ((entry.Offset + entry.Length + Block - 1) / Block * Block) - (entry.Offset / Block * Block);
    }

    private float[] Logits(ModelRunner runner)
    {
        using KvSequence sequence = runner.Cache.CreateSequence();
        Assert.That(sequence.TryExtend(s_tokens.Length));
        var batch = new RaggedBatch();
        batch.Add(s_tokens, 0, sequence.Pages, LogitsWanted.All);
        var logits = new float[s_tokens.Length * _checkpoint.Config.VocabularySize];
        runner.Forward.Run(batch, logits);
        return logits;
    }

    private long CacheThatLeavesSlotsOnTheCpu()
    {
        long experts = _checkpoint.Tensors.Values.Where(t => t.IsRoutedExpert).Sum(t => t.Length);
        return Available - Bisect(x => Slots(Memory(Options() with { KvCacheBytes = Available - x }, Available), onGpu: false), experts / 2);
    }

    /// <summary>Bytes of a GPU that hold the context beside steps of so many tokens.</summary>
    private long LeastOnGpu(int chunk)
    {
        ModelWeights weights = WeightLoader.Load(_checkpoint);
        var wish = new MemoryWish(chunk + GpuOpening.DecodeRows, Context, LookAhead: true, ChargesLocked: CudaStream.DriverCollects);
        return Bisect(Tokens, Context);

        long Tokens(long bytes)
        {
            try
            {
                return MemoryPlan.Fit(weights, wish, bytes).CacheTokens;
            }
            catch (CudaException)
            {
                return 0;
            }
        }
    }

    private void OnGpuOf(long bytes)
    {
        _driver.Dispose();
        _driver = new SimulatedDriver { TotalBytes = bytes };
    }

    private void Lose(ModelDevices devices)
    {
        (_driver.Failure, _driver.FailingFunction) = (CUResult.ErrorLaunchFailed, "cuLaunchKernel");
        DeviceException failure = Assert.Catch<DeviceException>(() => Logits(devices.Runner))!;
        Assert.That(devices.Recover(failure, ofStep: true).Next, Is.SameAs(devices.Runner), failure.Message);
        Assert.That(devices.Device, Is.EqualTo(KimiDevice.Cpu));
    }

    private KimiModelOptions Options() => new() { Device = KimiDevice.Auto, CudaDriver = _driver.Table, RememberExperts = false, GpuExpertBytes = 0, Threads = 2 };

    private ModelMemory Memory(KimiModelOptions options, long available) => new(_checkpoint, WeightLoader.ShapeOf(_checkpoint.Config), options, Context, new ProcessMemory(available, available, null));

    private ModelDevices Devices(KimiModelOptions options, long available = Available) => new(_checkpoint, Memory(options, available), Context, options, _log);

    private sealed class Reports(Action<LoadProgress> hear, string phase) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value)
        {
            if (value.Phase == phase)
            {
                hear(value);
            }
        }
    }
}
