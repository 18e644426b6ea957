// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.CompilerServices;
using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Constraints;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cuda;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Memory;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Nano;
using KimiCpu.Sessions;
using KimiCpu.Tokens;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu;

/// <summary>
/// A Kimi K2 model, opened from a checkpoint folder as downloaded. Weights stay in the files' mappings; opening reads
/// headers only.
/// </summary>
public sealed class KimiModel : IKimiModel
{
    /// <summary>Tokens of a pass that may decode beside a prompt's chunk on a GPU; calls beyond wait for a place.</summary>
    private const int GpuDecodeRows = 64;

    /// <summary>Tokens that the weights on a GPU leave room for where nobody asks for more.</summary>
    private const int GpuContext = 32768;

    private readonly Checkpoint _checkpoint;
    private readonly LoadedWeights _weights;
    private readonly CpuBackend _cpu;
    private readonly ExpertUses? _uses;
    private readonly CudaBackend? _gpu;
    private readonly GenerationEngine _engine;
    private readonly ExpertChoices _choices;
    private readonly ILogger _logger;
    private readonly CallPreparation _calls;
    private readonly Lazy<SessionStore> _sessions;
    private int _disposed;

    private KimiModel(Checkpoint checkpoint, KimiModelOptions options)
    {
        long start = Stopwatch.GetTimestamp();
        _checkpoint = checkpoint;
        _logger = options.LoggerFactory?.CreateLogger<KimiModel>() ?? NullLogger<KimiModel>.Instance;
        Tokenizer = KimiTokenizer.Open(checkpoint.Files);
        ModelShape shape = WeightLoader.ShapeOf(checkpoint.Config);
        if (Tokenizer.VocabularySize > shape.VocabularySize)
        {
            throw new CheckpointException(
                checkpoint.Files.PathOf(KimiTokenizer.RanksFile), null, $"The tokenizer has {Tokenizer.VocabularySize} ids, but config.json says {shape.VocabularySize}.");
        }

        ComputePrecision precision = options.Exact ? ComputePrecision.Exact : ComputePrecision.Fast;
        int context = Math.Min(options.ContextLength ?? int.MaxValue, shape.MaxPositions);
        var memory = new ModelMemory(checkpoint, shape, options, context, ProcessMemory.Now().AvailableBytes);
        _weights = new LoadedWeights(checkpoint, memory.Experts, (done, total) => options.Progress?.Report(new LoadProgress("weights", done, total)), guard: options.RuntimeCodeGeneration);
        ModelWeights weights = _weights.Model;
        try
        {
            // Telling models apart takes a look at their files, so only where it is needed.
            _uses = _weights.ExpertFiles is null ? null : new ExpertUses(shape, options.RememberExperts ? ExpertStatistics.OfUser(ModelIdentity.Of(checkpoint)) : null, _logger);
            _gpu = OpenGpu(weights, options, context, memory.PrefillChunk);
            _cpu = new CpuBackend(weights, new CpuBackendOptions
            {
                Precision = precision,
                Threads = options.Threads,
                Int8HotPath = options.Int8HotPath && !options.Exact,
                CopyProgress = (done, total) => options.Progress?.Report(new LoadProgress("copies", done, total)),
                HotPathElsewhere = _gpu is not null,
                AllowGeneratedCode = options.RuntimeCodeGeneration,
                ExpertFiles = _weights.ExpertFiles,
                Store = _uses is null ? null : new TieredStoreOptions
                {
                    Policy = _uses.Policy,
                    Bytes = memory.Experts.SlotBytes ?? 0,
                    Keeper = new MemoryKeeper(ExpertMemoryPlan.ReserveOf(memory.Available), () => ProcessMemory.Now().AvailableBytes),
                    CapacityChanged = (inUse, all) => KimiLog.Resized(_logger, inUse, all),
                },
            });
            _weights.ThrowIfFaulted();
            _weights.GiveBack(_cpu.Replaced);
            if (_cpu.Store is TieredExpertStore store)
            {
                _uses!.Warm(store);
            }

            PreloadExperts(options);
            IHotPath hotPath = _gpu is null ? _cpu.HotPath : _gpu.HotPath;
            _choices = new ExpertChoices(weights);
            var cache = new KvCache(hotPath, _gpu?.Plan.CacheBytes ?? memory.CacheBytes, context, options.PrefixCaching);
            var forward = new ForwardPass(weights, hotPath, _cpu.Experts) { Verify = _weights.ThrowIfFaulted };
            string tuned = options.TuneThreads ? $" ({TuneThreads(options, forward, cache)})" : "";
            forward.Routed = _choices.Note;
            var scheduler = new Scheduler(cache, memory.PrefillChunk, SchedulingOf(options, forward.MaxRows - memory.PrefillChunk), TimeProvider.System);
            _engine = new GenerationEngine(forward, cache, scheduler, _cpu.Memory, _cpu.Pool.TieCaller, checkpoint.Name);
            Info = new KimiModelInfo
            {
                Name = checkpoint.Name,
                LayerCount = shape.LayerCount,
                HiddenSize = shape.HiddenSize,
                ExpertCount = shape.ExpertCount,
                ExpertsPerToken = shape.ExpertsPerToken,
                VocabularySize = shape.VocabularySize,
                ContextLength = _engine.MaxJobTokens,
                CacheBytesPerToken = _engine.CacheBytesPerToken,
            };
            _calls = new CallPreparation(Tokenizer, new Lazy<ChatRenderer>(MakeRenderer), EndTokens(), Info, problem => KimiLog.Warned(_logger, problem));

            // On the engine's thread, which ends before the weights are unmapped.
            _sessions = new Lazy<SessionStore>(() => _engine.UseCache(_ => MakeSessionStore(options)).GetAwaiter().GetResult());
            if (_cpu.CopiedBytes > 0)
            {
                KimiLog.Copied(_logger, _cpu.ReplacedBytes, _cpu.CopiedBytes, _cpu.CopyTime.TotalSeconds);
            }

            string arithmetic = options.Exact ? "single-precision activations, F32 cache" : $"int8 activations in INT4 experts{(_cpu.Kernel.BFloat16Products is null ? "" : ", BF16 activations for BF16 weights")}, BF16 cache";
            string copies = _cpu.CopiedBytes > 0 ? $" hot path copied to 8 bits ({_cpu.CopiedBytes >> 20} MiB);" : "";
            string gpu = _gpu is null ? "" : $"{_gpu.Description}: {_gpu.Plan}. ";
            Placement = $"{gpu}CPU: {CpuFeatures.Description}, {_cpu.Kernel.Kind} tiles, {_cpu.Pool.ActiveThreads} threads{tuned},{copies} {arithmetic} of at most {cache.PageCapacity * hotPath.BytesPerPage >> 20} MiB; {PlaceOfWeights()}.";
            KimiLog.Opened(_logger, Info.Name, Info.LayerCount, Info.ExpertCount, checkpoint.TensorBytes, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            KimiLog.Placed(_logger, Placement);
            KimiLog.Planned(_logger, memory.Experts.Reason);
            KimiTelemetry.Models.Add(this);
            if (Info.ContextLength < context)
            {
                KimiLog.Warned(_logger, $"The cache budget holds {Info.ContextLength} of the {context} tokens of the context; KimiModelOptions.KvCacheBytes raises it.");
            }
        }
        catch
        {
            _engine?.Dispose();
            _cpu?.Dispose();
            _gpu?.Dispose();
            _weights.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public KimiModelInfo Info { get; }

    /// <inheritdoc/>
    public string Placement { get; }

    /// <inheritdoc/>
    public KimiTokenizer Tokenizer { get; }

    /// <inheritdoc/>
    public long[][] CountExpertUses() => _choices.Copy();

    /// <inheritdoc/>
    public KimiModelActivity Activity => _engine.Activity.Now(_engine.Bandwidth);

    /// <summary>The files of kimi-nano.</summary>
    internal static CheckpointFiles EmbeddedFiles => new EmbeddedCheckpointFiles(NanoCheckpoint.Assembly, NanoCheckpoint.ResourcePrefix, NanoCheckpoint.Name);

    /// <summary>Cache pages that neither a call nor a session holds, and how many of them are known by their text; for leak checks.</summary>
    internal (int Free, int Reusable, int Capacity) CachePages => (_engine.FreePages, _engine.ReusablePages, _engine.PageCapacity);

    /// <summary>Made when first needed, since the model's identity takes a look at its weights.</summary>
    internal SessionStore Sessions => _sessions.Value;

    /// <summary>Opens a checkpoint folder.</summary>
    /// <param name="path">Folder with <c>config.json</c>, safetensors files, <c>tiktoken.model</c> and <c>tokenizer_config.json</c>, as downloaded.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, or of a model that is not supported.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    public static KimiModel Open(string path, KimiModelOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return Open(new FolderCheckpointFiles(path), options);
    }

    /// <summary>Opens a checkpoint folder on another thread.</summary>
    /// <param name="path">Folder as downloaded; see <see cref="Open(string, KimiModelOptions?)"/>.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="cancellationToken">Honoured between shards and layers; everything opened so far is closed.</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, or of a model that is not supported.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static Task<KimiModel> OpenAsync(string path, KimiModelOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= new KimiModelOptions();
        var progress = new CancellingProgress(options.Progress, cancellationToken);
        return Task.Run(() => Open(path, options with { Progress = progress }), cancellationToken);
    }

    /// <summary>Opens kimi-nano, a very small model of the same architecture that comes with the library.</summary>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    public static KimiModel OpenEmbedded(KimiModelOptions? options = null) =>
        Open(EmbeddedFiles, options);

    /// <inheritdoc/>
    public double? MeasureMemoryBandwidth(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        cancellationToken.ThrowIfCancellationRequested();
        return _engine.MeasureBandwidth().WaitAsync(cancellationToken).GetAwaiter().GetResult();
    }

    /// <inheritdoc/>
    public int[] EncodePrompt(IEnumerable<KimiMessage> messages, GenerationOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return _calls.Render([.. messages], options ?? new GenerationOptions());
    }

    /// <inheritdoc/>
    public GenerationResult Generate(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        Generate([KimiMessage.User(prompt)], options, cancellationToken);

    /// <inheritdoc/>
    public GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        Run(Prepared(messages, options, cancellationToken), session: null, cancellationToken);

    /// <inheritdoc/>
    public GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        Run(Prepared(tokens, options, cancellationToken), session: null, cancellationToken);

    /// <inheritdoc/>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        GenerateAsync([KimiMessage.User(prompt)], options, cancellationToken);

    /// <inheritdoc/>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        GenerateAsync(messages, options, session: null, cancellationToken);

    /// <inheritdoc/>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        GenerateAsync(tokens, options, session: null, cancellationToken);

    /// <inheritdoc/>
    public KimiSession CreateSession()
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return new KimiSession(this, new SessionState(_engine));
    }

    /// <inheritdoc/>
    public KimiSession LoadSession(string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        SessionState state = Sessions.Load(path, out byte[] applicationData, progress, cancellationToken);
        return new KimiSession(this, state, applicationData);
    }

    /// <inheritdoc/>
    public Task<KimiSession> LoadSessionAsync(string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default) =>
        Task.Run(() => LoadSession(path, progress, cancellationToken), cancellationToken);

    /// <summary>Ends running calls with an <see cref="ObjectDisposedException"/> and closes the checkpoint.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        KimiTelemetry.Models.Remove(this);

        // The engine's thread has ended before any memory that it reads is given back.
        _engine.Dispose();
        _cpu.Dispose();
        _gpu?.Dispose();
        _uses?.Save();
        _weights.Dispose();
        _checkpoint.Dispose();
    }

    internal GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options, SessionState session, CancellationToken cancellationToken) =>
        Run(Prepared(messages, options, cancellationToken), session, cancellationToken);

    internal GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options, SessionState session, CancellationToken cancellationToken) =>
        Run(Prepared(tokens, options, cancellationToken), session, cancellationToken);

    // Calls are prepared at once, so that bad arguments are reported where the caller sees them; a job is made per enumeration.
    internal IAsyncEnumerable<GenerationUpdate> GenerateAsync(IEnumerable<KimiMessage> messages, GenerationOptions? options, SessionState? session, CancellationToken cancellationToken) =>
        Stream(Prepared(messages, options, cancellationToken), session, cancellationToken);

    internal IAsyncEnumerable<GenerationUpdate> GenerateAsync(ReadOnlyMemory<int> tokens, GenerationOptions? options, SessionState? session, CancellationToken cancellationToken) =>
        Stream(Prepared(tokens, options, cancellationToken), session, cancellationToken);

    private PreparedCall Prepared(IEnumerable<KimiMessage> messages, GenerationOptions? options, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return _calls.Prepare(messages, options, cancellationToken);
    }

    private PreparedCall Prepared(ReadOnlyMemory<int> tokens, GenerationOptions? options, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return _calls.Prepare(tokens, options, cancellationToken);
    }

    private GenerationJob Submit(PreparedCall call, SessionState? session, bool streamed, CancellationToken cancellationToken)
    {
        GenerationJob job = _calls.MakeJob(call, streamed, cancellationToken);
        job.Session = session;
        _engine.Submit(job);
        return job;
    }

    private static KimiModel Open(CheckpointFiles files, KimiModelOptions? options)
    {
        options ??= new KimiModelOptions();
        Require(options.Threads is null or >= 1 and <= 1024, nameof(options.Threads), options.Threads, "1 … 1024");
        Require(options.ContextLength is null or >= 1, nameof(options.ContextLength), options.ContextLength, "1 or more");
        Require(options.KvCacheBytes is null or >= 1, nameof(options.KvCacheBytes), options.KvCacheBytes, "1 or more");
        Require(options.ExpertMemory is null or >= 1, nameof(options.ExpertMemory), options.ExpertMemory, "1 or more");
        Require(options.PrefillChunk is null or >= 1 and <= 65536, nameof(options.PrefillChunk), options.PrefillChunk, "1 … 65536");
        options.Scheduling.Validate();
        if (options.Exact && !options.Device.IsCpu && !options.Device.IsAuto)
        {
            throw new ArgumentException($"Exact computes on the CPU; Device is {options.Device}. Leave one of them at its default.", nameof(options));
        }

        Checkpoint checkpoint = Checkpoint.Open(files, (done, total) => options.Progress?.Report(new LoadProgress("shards", done, total)));
        try
        {
            return new KimiModel(checkpoint, options);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Where experts come from drives a step of few prompt tokens takes nearly as long as one of many.</summary>
    /// <param name="options">What the user asks for.</param>
    /// <param name="decodeRows">Tokens of running answers that fit into a step beside a prompt's.</param>
    private SchedulingOptions SchedulingOf(KimiModelOptions options, int decodeRows) => options.Scheduling with
    {
        MaxRunning = Math.Min(options.Scheduling.MaxRunning, Math.Max(1, decodeRows)),
        MaxTokenGap = options.Scheduling.MaxTokenGap ?? (_cpu.Store is TieredExpertStore ? Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(0.5)),
    };

    /// <summary>Null for the CPU.</summary>
    private CudaBackend? OpenGpu(ModelWeights weights, KimiModelOptions options, int context, int prefillChunk)
    {
        if (options.Device.IsCpu || (options.Device.IsAuto && options.Exact))
        {
            return null;
        }

        try
        {
            var wish = new MemoryWish(prefillChunk + GpuDecodeRows, options.ContextLength is null ? Math.Min(context, GpuContext) : context, options.KvCacheBytes);
            return new CudaBackend(options.CudaDriver ?? DriverTable.OfInstalledDriver(), options.Device.Ordinal, weights, wish, new CudaHotPathOptions
            {
                Progress = (done, total) => options.Progress?.Report(new LoadProgress("gpu", done, total)),
            });
        }
        catch (DeviceException e) when (options.Device.IsAuto)
        {
            KimiLog.Warned(_logger, $"The model runs on the CPU. {e.Message}");
            return null;
        }
        catch (DeviceException e)
        {
            throw new KimiException(e.Message, e);
        }
    }

    private static void Require(bool condition, string option, object? found, string range)
    {
        if (!condition)
        {
            throw new ArgumentOutOfRangeException(option, found, $"{option} takes {range}.");
        }
    }

    /// <summary>Before the engine begins. Says how the number of threads came about.</summary>
    private string TuneThreads(KimiModelOptions options, ForwardPass forward, KvCache cache)
    {
        WorkerPool pool = _cpu.Pool;
        CpuTopology machine = CpuTopology.OfThisProcess;
        ModelShape shape = forward.Shape;
        string version = typeof(KimiModel).Assembly.GetName().Version?.ToString() ?? "";
        string key = $"KimiCpu {version}; {CpuFeatures.Name}, {CpuFeatures.Description}, {_cpu.Kernel.Kind}; "
            + $"{machine.PhysicalCores.Count} cores, {machine.Processors.Count} processors, quota {machine.Quota}, {pool.NodeCount} nodes, at most {pool.Threads} threads{(pool.OnCores ? " on cores" : "")}; "
            + $"{_checkpoint.Name}, {_checkpoint.TensorBytes} bytes, {shape.LayerCount} layers of {shape.HiddenSize}, {shape.ExpertsPerToken} of {shape.ExpertCount} experts of {shape.ExpertIntermediateSize}; "
            + $"{(options.Exact ? "exact" : "fast")}{(_cpu.CopiedBytes > 0 ? ", 8-bit copies" : "")}";
        ThreadChoiceFile? file = options.ThreadsFile is { } path ? new ThreadChoiceFile(path) : ThreadChoiceFile.OfUser;
        int measurements = 0;
        long reported = 0;
        return ThreadTuning.Apply(pool, file, key, () => new DecodeTimer(forward, cache, ThreadTuning.Limit, Report), () => measurements++);

        // Before each step, but told a few times a second; a cancelled opening ends here. The total is not known.
        void Report()
        {
            if (reported == 0 || Stopwatch.GetElapsedTime(reported).TotalSeconds > 0.2)
            {
                reported = Stopwatch.GetTimestamp();
                options.Progress?.Report(new LoadProgress("threads", measurements, measurements + 1));
            }
        }
    }

    private void PreloadExperts(KimiModelOptions options)
    {
        void Report(int done, int total) => options.Progress?.Report(new LoadProgress("experts", done, total));
        if (!options.PreloadExperts)
        {
            return;
        }

        if (_cpu.Store is TieredExpertStore store)
        {
            store.Fill(Report);
        }
        else if (_checkpoint.Files.AreOnDrive && !MappedExperts.Load(_checkpoint, Report))
        {
            KimiLog.Warned(_logger, "The experts are in memory, but the system does not lock them there, so it may take them back for other uses; on Linux `ulimit -l unlimited` allows it.");
        }
    }

    private string PlaceOfWeights()
    {
        if (_cpu.Store is not TieredExpertStore store)
        {
            return "weights mapped from the checkpoint";
        }

        long all = _weights.Model.Layers.Sum(l => (long)l.Experts.Length);
        string drives = _weights.DriveCount == 1 ? "the drive" : $"{_weights.DriveCount} drives";
        return FormattableString.Invariant($"{store.Slots:N0} of {all:N0} experts in {store.Slots * store.SlotBytes / 1e9:F1} GB of memory, the others read from {drives}{(_weights.IsDirect ? "" : " through the page cache, since the file system refuses direct reads")}");
    }

    private ChatRenderer MakeRenderer()
    {
        (ChatFormat format, string? doubt) = ChatTemplate.Read(_checkpoint.Files);
        if (doubt is not null)
        {
            KimiLog.Warned(_logger, doubt);
        }

        return new ChatRenderer(Tokenizer, format);
    }

    private SessionStore MakeSessionStore(KimiModelOptions options)
    {
        string arithmetic = options.Exact ? "exact arithmetic" : _gpu is not null ? $"a GPU's arithmetic, {_gpu.Plan.Weights.Name}" : options.Int8HotPath ? "fast arithmetic and 8-bit copies" : "fast arithmetic";
        var header = new SessionHeader(ModelIdentity.Of(_checkpoint), Info.Name, arithmetic, Info.CacheBytesPerToken, KvPage.Tokens, TokenCount: 0, ApplicationBytes: 0);
        return new SessionStore(_engine, header, Info.VocabularySize);
    }

    private HashSet<int> EndTokens()
    {
        var ids = new HashSet<int>(_checkpoint.Config.EosTokenIds);

        // The releases differ in which of these they call the end of a text; a chat ends at any.
        foreach (string name in new[] { "<|im_end|>", "[EOS]", "[EOT]" })
        {
            if (Tokenizer.TryGetSpecialToken(name, out int id))
            {
                ids.Add(id);
            }
        }

        return ids;
    }

    private GenerationResult Run(PreparedCall call, SessionState? session, CancellationToken cancellationToken)
    {
        using var telemetry = new CallTelemetry(Info.Name, call.Operation);
        try
        {
            GenerationJob job = Submit(call, session, streamed: false, cancellationToken);
            GenerationResult result = job.Completion.GetAwaiter().GetResult();
            Report(result, telemetry);
            return result;
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    private async IAsyncEnumerable<GenerationUpdate> Stream(PreparedCall call, SessionState? session, CancellationToken callerToken, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        // Also cancelled when the consumer leaves the loop early, so that the engine stops working for nobody.
        using var source = CancellationTokenSource.CreateLinkedTokenSource(callerToken, cancellationToken);
        using var telemetry = new CallTelemetry(Info.Name, call.Operation);
        try
        {
            GenerationJob job = SubmitStream(call, session, telemetry, source.Token);
            while (await MoreUpdates(job, telemetry).ConfigureAwait(false))
            {
                while (job.Updates.TryRead(out GenerationUpdate? update))
                {
                    if (update.Result is not null)
                    {
                        Report(update.Result, telemetry);
                    }

                    yield return update;
                }
            }
        }
        finally
        {
            await source.CancelAsync().ConfigureAwait(false);
        }
    }

    private GenerationJob SubmitStream(PreparedCall call, SessionState? session, CallTelemetry telemetry, CancellationToken cancellationToken)
    {
        try
        {
            return Submit(call, session, streamed: true, cancellationToken);
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    /// <summary>Whether there are updates to read; waits for them.</summary>
    private static async ValueTask<bool> MoreUpdates(GenerationJob job, CallTelemetry telemetry)
    {
        try
        {
            return await job.Updates.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    private void Report(GenerationResult result, CallTelemetry telemetry)
    {
        telemetry.Finish(result);
        GenerationTimings timings = result.Timings;
        KimiLog.Answered(
            _logger,
            result.Usage.PromptTokens,
            result.Usage.CachedTokens,
            timings.PrefillTokensPerSecond,
            result.Usage.CompletionTokens,
            timings.DecodeTokensPerSecond,
            timings.DecodeBytesPerToken / 1e6,
            timings.DecodeBytesPerSecond / 1e9,
            result.FinishReason);
        if (timings.MemoryBandwidthShare is { } share)
        {
            KimiLog.ReachedOfMemory(_logger, share, timings.DecodeBytesPerSecond / share / 1e9);
        }
    }

    /// <summary>Passes progress on and stops the opening when cancelled.</summary>
    private sealed class CancellingProgress(IProgress<LoadProgress>? inner, CancellationToken cancellationToken) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value)
        {
            cancellationToken.ThrowIfCancellationRequested();
            inner?.Report(value);
        }
    }
}
