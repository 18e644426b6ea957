// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cuda;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Sessions;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Devices;

/// <summary>
/// A model's weights and what computes with them: the CPU and, where one is wanted and can be used, a GPU for the hot path.
/// Owns all of it. When the GPU fails this decides who goes on. After the opening all but what is said to be safe belongs
/// to the engine's thread.
/// </summary>
internal sealed class ModelDevices : IDeviceRecovery, IDisposable
{
    private readonly Checkpoint _checkpoint;
    private readonly ModelMemory _memory;
    private readonly KimiModelOptions _options;
    private readonly int _context;
    private readonly ILogger _logger;
    private LoadedWeights _weights;
    private MemoryShares _shares;
    private ExpertUses? _uses;
    private readonly Action<int, RoutedRows>? _routed;
    private readonly CpuBackend _cpu;
    private readonly string _tuned = "";
    private CudaBackend? _gpu;
    private string _lost = "";
    private long _passesAtFailure = -1;
    private volatile string _placement = "";
    private string? _failure;

    /// <param name="checkpoint">Stays open, and the caller's.</param>
    /// <param name="memory">Planned for it.</param>
    /// <param name="context">Most tokens of a call.</param>
    /// <param name="options">What the user asks for; checked.</param>
    /// <param name="logger">Told what the user should know.</param>
    /// <exception cref="KimiException">The GPU that was asked for cannot be used.</exception>
    /// <exception cref="OutOfMemoryException">The system has not the memory that the plan counts on.</exception>
    public ModelDevices(Checkpoint checkpoint, ModelMemory memory, int context, KimiModelOptions options, ILogger logger)
    {
        _checkpoint = checkpoint;
        _memory = memory;
        _options = options;
        _context = context;
        _logger = logger;
        bool wantsGpu = GpuOpening.IsWanted(options);
        _shares = memory.Divide(onGpu: wantsGpu);
        _weights = Load(report: !wantsGpu);
        try
        {
            // Telling models apart takes a look at their files, so only where it is needed.
            bool gpuExperts = wantsGpu && options.GpuExpertBytes != 0;
            _uses = _weights.ExpertFiles is null && !gpuExperts ? null : MakeUses();
            Action<int, RoutedRows>? noteUses = null;
            UseCounts? counts = gpuExperts ? _uses!.Copy() : null;
            HotExpertPlacement? placement = OpenGpu(counts);
            if (wantsGpu && _gpu is not { SharesMemory: false } && DivideForCpu())
            {
                placement = OpenGpu(counts);
            }

            if (_gpu?.HotPath.Experts is not null)
            {
                _uses!.LeaveBehind(counts!);
                noteUses = placement!.Note;
            }
            else if (_weights.ExpertFiles is null)
            {
                _uses = null;
            }

            ModelWeights weights = _weights.Model;
            TieredStoreOptions? store = _weights.ExpertFiles is null ? null : new TieredStoreOptions
            {
                Policy = (_uses ??= MakeUses()).Policy,
                Bytes = _shares.Experts.SlotBytes ?? 0,
                Keeper = new MemoryKeeper(ExpertMemoryPlan.ReserveOf(memory.Available), ProcessMemory.Now),
                CapacityChanged = (inUse, all) => KimiLog.Resized(logger, inUse, all),
            };
            _cpu = new CpuBackend(weights, new CpuBackendOptions
            {
                Precision = options.Exact ? ComputePrecision.Exact : ComputePrecision.Fast,
                Threads = options.Threads,
                Int8HotPath = options.Int8HotPath && !options.Exact,
                HotPathProgress = Progress(options.Int8HotPath && !options.Exact ? "copies" : "weights"),
                HotPathElsewhere = _gpu is not null,
                AllowGeneratedCode = options.RuntimeCodeGeneration,
                ExpertFiles = _weights.ExpertFiles,
                Store = store,
            });
            _weights.ThrowIfFaulted();
            if (_cpu.Store is TieredExpertStore tiered)
            {
                _uses!.Warm(tiered, IsOnGpu);
            }

            PreloadExperts();
            Choices = new ExpertChoices(weights);
            Runner = MakeRunner();
            _tuned = options.TuneThreads ? $" ({TuneThreads()})" : "";
            _routed = noteUses + Choices.Note;
            Runner.Forward.Routed = _routed;
            _placement = Describe();
        }
        catch
        {
            Release();
            throw;
        }
    }

    public ModelShape Shape => _weights.Model.Shape;

    /// <summary>What computes now. As it was made, for the engine that begins with it.</summary>
    public ModelRunner Runner { get; private set; }

    /// <summary>Counts what the routers choose, wherever they run. Safe for all threads.</summary>
    public ExpertChoices Choices { get; }

    /// <summary>What is known of the experts' uses; null where nobody wants to know.</summary>
    public ExpertUses? Uses => _uses;

    public WorkerPool Pool => _cpu.Pool;

    public IMemoryMeter MemoryMeter => _cpu.Memory;

    /// <summary>Tokens of running answers that fit into a step beside a prompt's.</summary>
    public int DecodeRows => Runner.Forward.MaxRows - Runner.PrefillChunk;

    /// <summary>Whether experts come from drives: a step of few prompt tokens takes nearly as long as one of many then.</summary>
    public bool ReadsDrives => _cpu.Store is TieredExpertStore;

    /// <summary>Null where the experts are mapped; for tests.</summary>
    internal TieredExpertStore? Store => _cpu.Store as TieredExpertStore;

    /// <summary>Weights in memory of their own; for tests.</summary>
    internal long ResidentBytes => _weights.ResidentBytes;

    /// <summary>What runs where now, for a user. Safe for all threads.</summary>
    public string Placement => _placement;

    /// <summary>Where the hot path runs now. Safe for all threads.</summary>
    public KimiDevice Device => Volatile.Read(ref _gpu) is { } gpu ? KimiDevice.Cuda(gpu.Ordinal) : KimiDevice.Cpu;

    public DeviceOutcome Recover(DeviceException failure, bool ofStep)
    {
        if (_gpu is not { } gpu || _failure is not null)
        {
            return new DeviceOutcome(new KimiException(_failure ?? failure.Message, failure), IsEnd: _failure is not null);
        }

        // That sessions cannot be saved is no reason to end the calls that run.
        bool again = ofStep && Runner.Forward.Passes == _passesAtFailure;
        _passesAtFailure = ofStep ? Runner.Forward.Passes : _passesAtFailure;
        bool lost = !gpu.Settle();
        if (!lost && !(again && _options.Device.IsAuto))
        {
            KimiLog.DeviceFailed(_logger, gpu.Name, failure.Message);
            return new DeviceOutcome(new KimiException($"{gpu.Name} failed: {failure.Message} It still answers, so the next call runs on it again.", failure));
        }

        string what = $"{gpu.Name} {(lost ? "was lost" : "failed twice in a row")}: {failure.Message}";
        if (_options.Device.IsAuto)
        {
            return MoveToCpu(gpu, what, failure);
        }

        KimiLog.DeviceLost(_logger, gpu.Name, failure.Message);
        return End($"{what} KimiModelOptions.Device asks for {_options.Device} alone, so every call fails from here on: open the model again, with KimiDevice.Auto or KimiDevice.Cpu, or in a new process.", failure);
    }

    public void Dispose()
    {
        _uses?.Save();
        Release();
    }

    /// <summary>Says what was opened and how.</summary>
    public void LogOpened()
    {
        if (_cpu.CopiedBytes > 0)
        {
            KimiLog.Copied(_logger, _cpu.ReplacedBytes, _cpu.CopiedBytes, _cpu.CopyTime.TotalSeconds);
        }

        KimiLog.Placed(_logger, Placement);
        KimiLog.Planned(_logger, _shares.Experts.Reason);
    }

    /// <summary>What the GPU held is gone: its weights are read where the CPU would have read them from the first, and its cache begins anew.</summary>
    private DeviceOutcome MoveToCpu(CudaBackend gpu, string what, DeviceException failure)
    {
        try
        {
            gpu.Dispose();
            Volatile.Write(ref _gpu, null);
            _lost = $" {gpu.Name} was lost.";
            if (_cpu.Store is TieredExpertStore store)
            {
                _shares = _memory.Divide(onGpu: false);

                // What was asked for was asked for beside the GPU, and the slots are full: the CPU's share goes before it.
                store.Limit(Math.Min(_shares.Experts.SlotBytes!.Value, _shares.RoomForExperts));
            }

            _cpu.TakeOverHotPath();
            _weights.ThrowIfFaulted();
            Runner = MakeRunner();

            // What is left behind of the experts' uses is still counted by the one who placed them.
            Runner.Forward.Routed = _routed;
            _placement = Describe();
        }
        catch (Exception e)
        {
            KimiLog.DeviceLost(_logger, gpu.Name, $"{failure.Message} The CPU cannot take its place: {e.Message}");
            return End($"{what} The CPU cannot take its place: {e.Message} Open the model again.", e);
        }

        KimiLog.MovedToCpu(_logger, gpu.Name, failure.Message);
        KimiLog.Placed(_logger, _placement);
        return new DeviceOutcome(new KimiException($"{what} The model runs on the CPU from here on: make the call again.", failure), Runner);
    }

    private DeviceOutcome End(string message, Exception cause)
    {
        _failure = message;
        return new DeviceOutcome(new KimiException(message, cause), IsEnd: true);
    }

    private ModelRunner MakeRunner()
    {
        IHotPath hotPath = _gpu is null ? _cpu.HotPath : _gpu.HotPath;
        var cache = new KvCache(hotPath, _gpu?.Plan.CacheBytes ?? _shares.CacheBytes, _context, _options.PrefixCaching, (made, wanted) => KimiLog.CacheCut(_logger, made, wanted), _gpu is null ? KvCache.LargerBudget : CacheRemedy.Of(_gpu.Plan, _options));
        var forward = new ForwardPass(_weights.Model, hotPath, _cpu.Experts) { Verify = _weights.ThrowIfFaulted };
        string arithmetic = _options.Exact ? CacheArithmetic.Exact
            : _gpu is not null ? CacheArithmetic.OfGpu(_gpu.Plan.Weights, HasSmallCache)
            : _options.Int8HotPath ? CacheArithmetic.FastWithCopies
            : CacheArithmetic.Fast;
        return new ModelRunner(forward, cache, arithmetic, _gpu is null ? _shares.PrefillChunk : _gpu.Plan.MaxRows - GpuOpening.DecodeRows);
    }

    /// <summary>These are the first steps of all. As at every step of the opening, the CPU takes over where the GPU fails and it may.</summary>
    private string TuneThreads()
    {
        using CallersContext? callers = _gpu?.KeepCallersContext();
        var subject = new ThreadTuning.Subject(_checkpoint, Shape, _options, _cpu);
        try
        {
            return ThreadTuning.Apply(subject, Runner);
        }
        catch (DeviceException e) when (_gpu is not null)
        {
            _gpu.Settle();
            DeviceOutcome? outcome = _options.Device.IsAuto ? MoveToCpu(_gpu, $"{_gpu.Name} failed: {e.Message}", e) : null;
            return outcome is { Next: { } next } ? ThreadTuning.Apply(subject, next) : throw outcome?.Error ?? new KimiException(e.Message, e);
        }
    }

    private LoadedWeights Load(bool report) => new(_checkpoint, _shares.Experts, report ? Progress("weights") : null, guard: _options.RuntimeCodeGeneration);

    /// <returns>Which experts are on the GPU; null where none are to be.</returns>
    private HotExpertPlacement? OpenGpu(UseCounts? counts)
    {
        HotExpertPlacement? placement = counts is null ? null : new HotExpertPlacement(_weights.Model, counts);
        _gpu = GpuOpening.Open(_weights.Model, _options, _context, _shares.GpuPrefillChunk, _memory.LargePrefillChunk, _shares.PrefillChunk, placement, _weights.ExpertFiles, _weights.ExpertFiles is not null, _logger);
        return placement;
    }

    /// <summary>What a GPU was to have, or has in the same memory, is main memory's after all: it may be too much for experts that all were to be there.</summary>
    /// <returns>Whether the GPU is to be opened again, since the weights are other ones now.</returns>
    private bool DivideForCpu()
    {
        bool mapped = _shares.Experts.SlotBytes is null;
        _shares = _memory.Divide(onGpu: false);
        if (!mapped || _shares.Experts.SlotBytes is null)
        {
            return false;
        }

        bool again = _gpu is not null;
        _gpu?.Dispose();
        _gpu = null;
        _weights.Dispose();
        _weights = Load(report: true);
        return again;
    }

    private bool IsOnGpu(int key) => _gpu?.HotPath.Experts is { } experts && experts.Held[key];

    private ExpertUses MakeUses() => new(_weights.Model.Shape, _options.RememberExperts ? UsesFile() : null, _logger);

    private ExpertStatistics? UsesFile()
    {
        UInt128 model = ModelIdentity.Of(_checkpoint);
        return _options.ExpertUsesFile is { } file ? new ExpertStatistics(file, model) : ExpertStatistics.OfUser(model);
    }

    private void PreloadExperts()
    {
        Action<int, int> report = Progress("experts");
        if (!_options.PreloadExperts)
        {
            return;
        }

        if (_cpu.Store is TieredExpertStore store)
        {
            store.Fill(IsOnGpu, report);
        }
        else if (_checkpoint.Files.AreOnDrive && !MappedExperts.Load(_checkpoint, report, BringInByNode()))
        {
            string remedy = OperatingSystem.IsWindows() ? "" : "; a higher limit of locked memory (ulimit -l) allows it";
            KimiLog.Warned(_logger, $"The experts are in memory, but the system does not lock them there, so it may take them back for other uses{remedy}.");
        }
    }

    /// <summary>Pages lie where the thread that first asks for them runs: with several nodes that has to be the one that will read them. Null with one node.</summary>
    private unsafe Action<MappedFile, long, long>? BringInByNode()
    {
        if (_cpu.Pool.NodeCount == 1)
        {
            return null;
        }

        var pages = new ExpertPages(_weights.Model, _cpu.Pool);

        // What cannot be brought in this way is, or fails, as with one node.
        return (file, offset, length) => pages.BringIn((nint)(file.Pointer + offset), length, (_, address, bytes) => file.TryPopulate((long)((byte*)address - file.Pointer), bytes));
    }

    private void Release()
    {
        _cpu?.Dispose();
        _gpu?.Dispose();
        _weights.Dispose();
    }

    private Action<int, int> Progress(string phase) => (done, total) => _options.Progress?.Report(new LoadProgress(phase, done, total));

    private bool HasSmallCache => _gpu?.Plan.CacheFormat == CacheFormat.Int8;

    private string Describe()
    {
        string rounded = _cpu.Kernel.BFloat16Products is null ? "" : $", BF16 activations for BF16{(_cpu.Kernel.Float8Products is null ? "" : " and FP8")} weights";
        string arithmetic = _options.Exact ? "single-precision activations, F32 cache" : $"int8 activations in INT4 experts{rounded}, {(HasSmallCache ? "8-bit" : "BF16")} cache";
        string copies = _cpu.CopiedBytes > 0 ? $" hot path copied to 8 bits ({_cpu.CopiedBytes >> 20} MiB);" : "";
        string gpu = _gpu is null ? "" : $"{_gpu.Description}: {_gpu.Plan}. ";
        KvCache cache = Runner.Cache;
        (int all, int decoding) = (_cpu.Pool.Threads, _cpu.Pool.DecodingThreads ?? _cpu.Pool.Threads);
        string forPrompts = decoding < all ? string.Create(CultureInfo.InvariantCulture, $", {all} for prompts") : "";
        return $"{gpu}CPU: {CpuFeatures.Description}, {_cpu.Kernel.Kind} tiles, {decoding} threads{_tuned}{forPrompts},{copies} {arithmetic} of at most {(long)cache.PageCapacity * cache.BytesPerToken * KvPage.Tokens >> 20} MiB; {PlaceOfWeights()}.{_lost}";
    }

    private string PlaceOfWeights()
    {
        if (_cpu.Store is not TieredExpertStore store)
        {
            return "weights mapped from the checkpoint";
        }

        long all = _weights.Model.Layers.Sum(l => (long)l.Experts.Length);
        string drives = _weights.DriveCount == 1 ? "the drive" : $"{_weights.DriveCount} drives";
        return FormattableString.Invariant($"{store.MostSlots:N0} of {all:N0} experts in {store.MostSlots * store.SlotBytes / 1e9:F1} GB of memory, the others read from {drives}{(_weights.IsDirect ? "" : " through the page cache, since the file system refuses direct reads")}");
    }
}
