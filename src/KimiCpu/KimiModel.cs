// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Constraints;
using KimiCpu.Cpu;
using KimiCpu.Devices;
using KimiCpu.Generation;
using KimiCpu.Nano;
using KimiCpu.Planning;
using KimiCpu.Sessions;
using KimiCpu.Tokens;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu;

/// <summary>
/// A Kimi K2 model, opened from a checkpoint folder as downloaded. Opening reads headers, and weights stay in the files' mappings.
/// Where the routed experts do not fit into memory, opening also reads what every token needs into memory of its own, and experts come from the drive
/// as they are needed. Opening reads weights for <see cref="KimiModelOptions.Int8HotPath"/>, <see cref="KimiModelOptions.PreloadExperts"/> and a GPU (<see cref="KimiModelOptions.Device"/>), too.
/// </summary>
public sealed class KimiModel : IKimiModel
{
    private readonly Checkpoint _checkpoint;
    private readonly ModelDevices _devices;
    private readonly GenerationEngine _engine;
    private readonly ILogger _logger;
    private readonly CallPreparation _calls;
    private readonly CallRunner _runner;
    private readonly FirstSessionStore _sessions;
    private readonly ExpertUsesKeeper? _keeper;
    private readonly PageTier? _tier;
    private volatile KimiModelInfo _info;
    private int _disposed;

    private KimiModel(Checkpoint checkpoint, KimiModelOptions options)
    {
        long start = Stopwatch.GetTimestamp();
        _checkpoint = checkpoint;
        _logger = options.LoggerFactory is { } loggers ? new GuardedLogger(loggers.CreateLogger<KimiModel>()) : NullLogger.Instance;
        Tokenizer = KimiTokenizer.Open(checkpoint.Files);
        ModelShape shape = WeightLoader.ShapeOf(checkpoint.Config);
        Tokenizer.RequireFit(checkpoint.Config, checkpoint.Files);

        // Control tokens that a chat needs may be missing where nobody chats; a file that cannot be read is nobody's wish.
        (ChatFormat chats, string? doubt) = ChatTemplate.Read(checkpoint.Files);
        int context = Math.Min(options.ContextLength ?? int.MaxValue, shape.MaxPositions);
        var memory = new ModelMemory(checkpoint, shape, options, context, ProcessMemory.Now());
        _devices = new ModelDevices(checkpoint, memory, context, options, _logger);
        try
        {
            SchedulingOptions scheduling = options.Scheduling.For(_devices.DecodeRows, shape.VocabularySize, _devices.ReadsDrives, shape.ExpertCount, shape.ExpertsPerToken);
            MaxRunning = scheduling.MaxRunning;
            _tier = OpenTier(options);
            var scheduler = new Scheduler(_devices.Runner.Cache, _devices.Runner.PrefillChunk, scheduling, TimeProvider.System, _devices.Runner.Forward.EfficientRows, _tier);
            _engine = new GenerationEngine(_devices.Runner, scheduler, _devices.MemoryMeter, _devices, _devices.Pool.TieCaller, checkpoint.Name, _tier);
            CheckpointSummary weights = CheckpointSummary.Of(checkpoint);
            _info = new KimiModelInfo
            {
                Name = checkpoint.Name,
                LayerCount = shape.LayerCount,
                HiddenSize = shape.HiddenSize,
                ExpertCount = shape.ExpertCount,
                ExpertsPerToken = shape.ExpertsPerToken,
                ParameterCount = weights.Parameters,
                WeightBytes = weights.Bytes,
                ExpertFormat = string.Join(", ", weights.Components.Where(c => c.Component == Component.RoutedExperts).SelectMany(c => c.Formats)),
                VocabularySize = shape.VocabularySize,
                ContextLength = _engine.MaxJobTokens,
                CacheBytesPerToken = _engine.CacheBytesPerToken,
            };
            _calls = new CallPreparation(Tokenizer, new Lazy<ChatRenderer>(() => new ChatRenderer(Tokenizer, chats), LazyThreadSafetyMode.PublicationOnly), EndTokens(), shape.VocabularySize, () => new ContextLimit(_engine.MaxJobTokens, context, shape.MaxPositions, _engine.MoreRoom), problem => KimiLog.Warned(_logger, problem));
            _runner = new CallRunner(_engine, _calls, checkpoint.Name, _logger);

            _sessions = new FirstSessionStore(MakeSessionStore);
            _keeper = _devices.Uses is { AreKept: true } uses ? new ExpertUsesKeeper(uses, _engine, options.UsesTime) : null;
            KimiLog.Opened(_logger, Info.Name, Info.LayerCount, Info.ExpertCount, checkpoint.TensorBytes, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            _devices.LogOpened();
            if (doubt is not null)
            {
                KimiLog.Warned(_logger, doubt);
            }

            if (options.ContextLength > shape.MaxPositions)
            {
                KimiLog.Warned(_logger, string.Create(CultureInfo.InvariantCulture, $"ContextLength is {options.ContextLength:N0}, but the model has {shape.MaxPositions:N0} positions: the context has those."));
            }

            if (MaxRunning < options.Scheduling.MaxRunning)
            {
                KimiLog.Warned(_logger, string.Create(CultureInfo.InvariantCulture, $"SchedulingOptions.MaxRunning is {options.Scheduling.MaxRunning:N0}, but a step has room for {MaxRunning:N0} answers: so many calls run at once."));
            }

            // Where nobody asks for more, a GPU is to hold so many, and the rest as far as there is room.
            int expected = options.ContextLength is null && !_devices.Device.IsCpu ? Math.Min(context, GpuOpening.Context) : context;
            if (Info.ContextLength < expected)
            {
                KimiLog.Warned(_logger, $"The cache holds {Info.ContextLength} of the {context} tokens of the context. To have more, {_engine.MoreRoom}.");
            }

            // Last, since who watches it would keep a model that is not opened.
            KimiTelemetry.Models.Add(this);
        }
        catch
        {
            _keeper?.Dispose();
            _engine?.Dispose();
            _tier?.Dispose();
            _devices.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public KimiModelInfo Info
    {
        get
        {
            // Another device's cache may hold more or less, and in another format.
            KimiModelInfo info = _info;
            (int tokens, int bytes) = (_engine.MaxJobTokens, _engine.CacheBytesPerToken);
            return (info.ContextLength, info.CacheBytesPerToken) == (tokens, bytes) ? info : _info = info with { ContextLength = tokens, CacheBytesPerToken = bytes };
        }
    }

    /// <inheritdoc/>
    public string Placement => _devices.Placement;

    /// <summary>Most calls that run at once.</summary>
    internal int MaxRunning { get; }

    /// <inheritdoc/>
    public KimiTokenizer Tokenizer { get; }

    /// <inheritdoc/>
    public long[][] CountExpertUses() => _devices.Choices.Copy();

    /// <inheritdoc/>
    public KimiModelActivity Activity => _engine.Activity.Now(_engine.Bandwidth) with { Device = _devices.Device, Failure = _engine.Failure };

    /// <summary>The files of kimi-nano.</summary>
    internal static CheckpointFiles EmbeddedFiles => new EmbeddedCheckpointFiles(NanoCheckpoint.Assembly, NanoCheckpoint.ResourcePrefix, NanoCheckpoint.Name);

    /// <summary>Cache pages that neither a call nor a session holds, and how many of them are known by their text; for leak checks.</summary>
    internal (int Free, int Reusable, int Capacity) CachePages => (_engine.FreePages, _engine.ReusablePages, _engine.PageCapacity);

    internal GenerationEngine Engine => _engine;

    /// <summary>What the application throws in it ends no call.</summary>
    internal ILogger Logger => _logger;

    /// <summary>Opens a checkpoint folder.</summary>
    /// <param name="path">Folder with <c>config.json</c>, safetensors files, <c>tiktoken.model</c> and <c>tokenizer_config.json</c>, as downloaded.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, or of a model that is not supported.</exception>
    /// <exception cref="KimiException">The model does not fit into the memory available, or the GPU that <see cref="KimiModelOptions.Device"/> asks for cannot be used.</exception>
    /// <exception cref="ArgumentException">The path is empty, or two options exclude each other.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    public static KimiModel Open(string path, KimiModelOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return Open(FilesOf(path), options);
    }

    /// <summary>Opens a checkpoint folder on another thread.</summary>
    /// <param name="path">Folder as downloaded; see <see cref="Open(string, KimiModelOptions?)"/>.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="cancellationToken">Honoured between shards and layers; everything opened so far is closed.</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, or of a model that is not supported.</exception>
    /// <exception cref="KimiException">The model does not fit into the memory available, or the GPU that <see cref="KimiModelOptions.Device"/> asks for cannot be used.</exception>
    /// <exception cref="ArgumentException">The path is empty, or two options exclude each other.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static Task<KimiModel> OpenAsync(string path, KimiModelOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        options ??= new KimiModelOptions();
        var progress = new CancellingProgress(options.Progress, cancellationToken);
        return Task.Run(() => Open(path, options with { Progress = progress }), cancellationToken);
    }

    /// <summary>Opens kimi-nano, a very small model of the same architecture that comes with the library.</summary>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="KimiException">The model does not fit into the memory available, or the GPU that <see cref="KimiModelOptions.Device"/> asks for cannot be used.</exception>
    /// <exception cref="ArgumentException">Two options exclude each other.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    public static KimiModel OpenEmbedded(KimiModelOptions? options = null) =>
        Open(EmbeddedFiles, options);

    /// <inheritdoc/>
    public double? MeasureMemoryBandwidth(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        _engine.ThrowIfOnOwnThread();
        cancellationToken.ThrowIfCancellationRequested();
        return _engine.MeasureBandwidth().WaitAsync(cancellationToken).GetAwaiter().GetResult();
    }

    /// <inheritdoc/>
    public int[] EncodePrompt(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return _calls.Render([.. messages], options ?? new GenerationOptions(), cancellationToken);
    }

    /// <inheritdoc/>
    public GenerationResult Generate(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        return Generate([KimiMessage.User(prompt)], options, cancellationToken);
    }

    /// <inheritdoc/>
    public GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        _runner.Run(Prepared(messages, options, waits: true, cancellationToken), session: null, cancellationToken);

    /// <inheritdoc/>
    public GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        _runner.Run(Prepared(tokens, options, waits: true, cancellationToken), session: null, cancellationToken);

    /// <inheritdoc/>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        return GenerateAsync([KimiMessage.User(prompt)], options, cancellationToken);
    }

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
        return LoadSession(new SessionPlace(path), progress, cancellationToken);
    }

    /// <inheritdoc/>
    public Task<KimiSession> LoadSessionAsync(string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return Task.Run(() => LoadSession(path, progress, cancellationToken), cancellationToken);
    }

    /// <inheritdoc/>
    public KimiSession LoadSession(Stream stream, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        RequireReadable(stream);
        return LoadSession(new SessionPlace(stream), progress, cancellationToken);
    }

    /// <inheritdoc/>
    public Task<KimiSession> LoadSessionAsync(Stream stream, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        RequireReadable(stream);
        return Task.Run(() => LoadSession(new AwaitedStream(stream, cancellationToken), progress, cancellationToken), cancellationToken);
    }

    /// <summary>Ends running calls with an <see cref="ObjectDisposedException"/> and closes the checkpoint.</summary>
    /// <exception cref="InvalidOperationException">It is called by what the model calls while it computes, such as <see cref="GenerationOptions.PromptProgress"/> or a logger; the model stays open.</exception>
    public void Dispose()
    {
        if (_engine.IsOnOwnThread)
        {
            throw new InvalidOperationException("A model cannot be disposed of by what it calls while it computes, such as PromptProgress or a logger. Cancel the call there, and dispose of the model when the call has ended.");
        }

        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        KimiTelemetry.Models.Remove(this);

        // The engine's thread has ended before any memory that it reads is given back.
        _keeper?.Dispose();
        _engine.Dispose();
        _tier?.Dispose();
        _devices.Dispose();
        _checkpoint.Dispose();
    }

    /// <summary>Saves and loads sessions; see <see cref="FirstSessionStore"/>.</summary>
    /// <exception cref="InvalidOperationException">The engine's own thread asks, which all of it waits for.</exception>
    internal SessionStore Sessions(CancellationToken cancellationToken)
    {
        _engine.ThrowIfOnOwnThread();
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return _sessions.Get(cancellationToken);
    }

    /// <summary>The name that a model will have, before it is opened.</summary>
    /// <param name="path">Of its folder.</param>
    internal static string NameOf(string path) => FolderCheckpointFiles.NameOf(path);

    /// <summary>Whether it is known that there is nothing to open; what may not be looked at may be there.</summary>
    /// <param name="path">Of its folder.</param>
    internal static bool IsMissing(string path) => Presence.IsMissing(path);

    /// <summary>What a hub calls a model that was given by name in place of a folder; null where it is no such name.</summary>
    internal static string? RepositoryOf(string path) => KnownModels.RepositoryOf(path);

    internal GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options, SessionState session, CancellationToken cancellationToken) =>
        _runner.Run(Prepared(messages, options, waits: true, cancellationToken), session, cancellationToken);

    internal GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options, SessionState session, CancellationToken cancellationToken) =>
        _runner.Run(Prepared(tokens, options, waits: true, cancellationToken), session, cancellationToken);

    // Calls are prepared at once, so that bad arguments are reported where the caller sees them; a job is made per enumeration.
    internal IAsyncEnumerable<GenerationUpdate> GenerateAsync(IEnumerable<KimiMessage> messages, GenerationOptions? options, SessionState? session, CancellationToken cancellationToken) =>
        _runner.Stream(Prepared(messages, options, waits: false, cancellationToken), session, cancellationToken);

    internal IAsyncEnumerable<GenerationUpdate> GenerateAsync(ReadOnlyMemory<int> tokens, GenerationOptions? options, SessionState? session, CancellationToken cancellationToken) =>
        _runner.Stream(Prepared(tokens, options, waits: false, cancellationToken), session, cancellationToken);

    /// <summary>A stream for a caller whose options take long to complete; what is known of them is checked, and the call admitted, before that.</summary>
    /// <param name="messages">In order.</param>
    /// <param name="options">What is known of them.</param>
    /// <param name="complete">Gives all of them.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    internal async Task<IAsyncEnumerable<GenerationUpdate>> BeginAsync(IEnumerable<KimiMessage> messages, GenerationOptions options, Func<Task<GenerationOptions>> complete, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        PreparedCall call = await _runner.PrepareAsync(messages, options, complete, cancellationToken).ConfigureAwait(false);
        return _runner.Stream(call, session: null, cancellationToken);
    }

    private PreparedCall Prepared(IEnumerable<KimiMessage> messages, GenerationOptions? options, bool waits, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return _runner.Prepare(messages, options, waits, cancellationToken);
    }

    private PreparedCall Prepared(ReadOnlyMemory<int> tokens, GenerationOptions? options, bool waits, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return _runner.Prepare(tokens, options, waits, cancellationToken);
    }

    /// <summary>Who gives a model's name in place of its folder may expect that it is downloaded, as with other libraries.</summary>
    private static FolderCheckpointFiles FilesOf(string path) => RepositoryOf(path) is { } repository
        ? throw new CheckpointException(path, null, "The folder does not exist.", $"Models are not downloaded here but by `hf download {repository} --local-dir DIR`; give the folder DIR.")
        : new FolderCheckpointFiles(path);

    private static KimiModel Open(CheckpointFiles files, KimiModelOptions? options)
    {
        options ??= new KimiModelOptions();
        OptionRange.Require(options.Threads is null or >= 1 and <= 1024, nameof(options.Threads), options.Threads, "1 … 1024");
        OptionRange.Require(options.ContextLength is null or >= 1, nameof(options.ContextLength), options.ContextLength, "1 or more");
        OptionRange.Require(options.KvCacheBytes is null or >= 1, nameof(options.KvCacheBytes), options.KvCacheBytes, "1 or more");
        OptionRange.Require(options.GpuExpertBytes is null or >= 0, nameof(options.GpuExpertBytes), options.GpuExpertBytes, "0 or more");
        OptionRange.Require(options.ExpertMemory is null or >= 1, nameof(options.ExpertMemory), options.ExpertMemory, "1 or more");
        OptionRange.Require(options.PromptCacheDirectory is null || !string.IsNullOrWhiteSpace(options.PromptCacheDirectory), nameof(options.PromptCacheDirectory), $"'{options.PromptCacheDirectory}'", "the path of a folder");
        OptionRange.Require(options.PromptCacheBytes >= KimiModelOptions.LeastPromptCacheBytes, nameof(options.PromptCacheBytes), options.PromptCacheBytes, "1,000,000,000 or more");
        OptionRange.Require(options.PrefillChunk is null or >= 1 and <= 65536, nameof(options.PrefillChunk), options.PrefillChunk, "1 … 65536");
        OptionRange.RequireGiven(options.Scheduling, nameof(options.Scheduling), "SchedulingOptions; leave it out for the defaults");
        options.Scheduling.Validate();
        if (options.Exact && !options.Device.IsCpu && !options.Device.IsAuto)
        {
            throw new ArgumentException($"Exact computes on the CPU; Device is {options.Device}. Leave one of them at its default.", nameof(options));
        }

        if (options.PromptCacheDirectory is not null && !options.PrefixCaching)
        {
            throw new ArgumentException("PromptCacheDirectory keeps what calls share, and PrefixCaching is off. Leave one of them at its default.", nameof(options));
        }

        Checkpoint checkpoint = Checkpoint.Open(files, (done, total) => options.Progress?.Report(new LoadProgress("shards", done, total)));
        try
        {
            return new KimiModel(checkpoint, options);
        }
        catch (Exception e)
        {
            checkpoint.Dispose();
            if (e is OutOfMemoryException)
            {
                throw new KimiException(e.Message, e);
            }

            throw;
        }
    }

    private static void RequireReadable(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        if (!stream.CanRead)
        {
            throw new ArgumentException("A session is loaded from a stream that can be read; this one cannot, or is closed.", nameof(stream));
        }
    }

    private KimiSession LoadSession(SessionPlace place, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        SessionState state = Sessions(cancellationToken).Load(place, out byte[] applicationData, progress, cancellationToken);
        return new KimiSession(this, state, applicationData);
    }

    /// <summary>Null where there is to be none, or its folder has another owner.</summary>
    private PageTier? OpenTier(KimiModelOptions options) =>
        options.PromptCacheDirectory is { } folder && PageFiles.Open(folder, options.PromptCacheBytes, _logger) is { } files ? new PageTier(files, SessionHeader(), _logger) : null;

    private SessionHeader SessionHeader() => new(ModelIdentity.Of(_checkpoint), _checkpoint.Name, Arithmetic: "", BytesPerToken: 0, KvPage.Tokens, TokenCount: 0, ApplicationBytes: 0);

    private SessionStore MakeSessionStore()
    {
        SessionHeader header = SessionHeader();
        var options = new GenerationOptions { MaxTokens = 1, Temperature = 0 };
        return new SessionStore(_engine, header, Info.VocabularySize, (tokens, session, progress, cancellationToken) =>
            _runner.Compute(_calls.Prepare(tokens, options with { PromptProgress = progress }, cancellationToken), session, cancellationToken), _logger);
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
