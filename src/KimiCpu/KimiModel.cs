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
    private readonly Checkpoint _checkpoint;
    private readonly CpuBackend _cpu;
    private readonly GenerationEngine _engine;
    private readonly ILogger _logger;
    private readonly HashSet<int> _endTokens;
    private readonly Lazy<ChatRenderer> _chat;
    private readonly Lazy<SessionStore> _sessions;
    private readonly ToolSchemas _toolSchemas = new();
    private int _disposed;

    private KimiModel(Checkpoint checkpoint, KimiModelOptions options)
    {
        long start = Stopwatch.GetTimestamp();
        _checkpoint = checkpoint;
        _logger = options.LoggerFactory?.CreateLogger<KimiModel>() ?? NullLogger<KimiModel>.Instance;
        Tokenizer = KimiTokenizer.Open(checkpoint.Files);
        ModelWeights weights = WeightLoader.Load(checkpoint, (done, total) => options.Progress?.Report(new LoadProgress("weights", done, total)));
        ModelShape shape = weights.Shape;
        if (Tokenizer.VocabularySize > shape.VocabularySize)
        {
            throw new CheckpointException(
                checkpoint.Files.PathOf(KimiTokenizer.RanksFile), null, $"The tokenizer has {Tokenizer.VocabularySize} ids, but config.json says {shape.VocabularySize}.");
        }

        ComputePrecision precision = options.Exact ? ComputePrecision.Exact : ComputePrecision.Fast;
        int context = Math.Min(options.ContextLength ?? int.MaxValue, shape.MaxPositions);
        long cacheBytes = options.KvCacheBytes ?? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;
        _chat = new Lazy<ChatRenderer>(MakeRenderer);
        _endTokens = EndTokens();
        _cpu = new CpuBackend(weights, new CpuBackendOptions
        {
            Precision = precision,
            Threads = options.Threads,
            Int8HotPath = options.Int8HotPath && !options.Exact,
            CopyProgress = (done, total) => options.Progress?.Report(new LoadProgress("copies", done, total)),
            AllowGeneratedCode = options.RuntimeCodeGeneration,
        });
        try
        {
            var cache = new KvCache(_cpu.HotPath, cacheBytes, context, options.PrefixCaching);
            var forward = new ForwardPass(weights, _cpu.HotPath, _cpu.Experts);
            string tuned = options.TuneThreads ? $" ({TuneThreads(options, forward, cache)})" : "";
            _engine = new GenerationEngine(forward, cache, options.PrefillChunk, _cpu.Memory, _cpu.Pool.TieCaller);
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

            // On the engine's thread, which ends before the weights are unmapped.
            _sessions = new Lazy<SessionStore>(() => _engine.UseCache(_ => MakeSessionStore(options)).GetAwaiter().GetResult());
            if (_cpu.CopiedBytes > 0)
            {
                KimiLog.Copied(_logger, _cpu.ReplacedBytes, _cpu.CopiedBytes, _cpu.CopyTime.TotalSeconds);
            }

            string arithmetic = options.Exact ? "single-precision activations, F32 cache" : $"int8 activations in INT4 experts{(_cpu.Kernel.BFloat16Products is null ? "" : ", BF16 activations for BF16 weights")}, BF16 cache";
            string copies = _cpu.CopiedBytes > 0 ? $" hot path copied to 8 bits ({_cpu.CopiedBytes >> 20} MiB);" : "";
            Placement = $"CPU: {CpuFeatures.Description}, {_cpu.Kernel.Kind} tiles, {_cpu.Pool.ActiveThreads} threads{tuned},{copies} {arithmetic} of at most {cache.PageCapacity * _cpu.HotPath.BytesPerPage >> 20} MiB; weights mapped from the checkpoint.";
            KimiLog.Opened(_logger, Info.Name, Info.LayerCount, Info.ExpertCount, checkpoint.TensorBytes, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            KimiLog.Placed(_logger, Placement);
            if (Info.ContextLength < context)
            {
                KimiLog.Warned(_logger, $"The cache budget holds {Info.ContextLength} of the {context} tokens of the context; KimiModelOptions.KvCacheBytes raises it.");
            }
        }
        catch
        {
            _engine?.Dispose();
            _cpu.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public KimiModelInfo Info { get; }

    /// <inheritdoc/>
    public string Placement { get; }

    /// <inheritdoc/>
    public KimiTokenizer Tokenizer { get; }

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
    public GenerationResult Generate(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        Generate([KimiMessage.User(prompt)], options, cancellationToken);

    /// <inheritdoc/>
    public GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        Run(ChatJob(messages, options, streamed: false, cancellationToken));

    /// <inheritdoc/>
    public GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options = null, CancellationToken cancellationToken = default) =>
        Run(RawJob(tokens, options, streamed: false, cancellationToken));

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

        // The engine's thread has ended before any memory that it reads is given back.
        _engine.Dispose();
        _cpu.Dispose();
        _checkpoint.Dispose();
    }

    internal GenerationResult Generate(IEnumerable<KimiMessage> messages, GenerationOptions? options, SessionState session, CancellationToken cancellationToken) =>
        Run(Of(session, ChatJob(messages, options, streamed: false, cancellationToken)));

    internal GenerationResult Generate(ReadOnlyMemory<int> tokens, GenerationOptions? options, SessionState session, CancellationToken cancellationToken) =>
        Run(Of(session, RawJob(tokens, options, streamed: false, cancellationToken)));

    internal IAsyncEnumerable<GenerationUpdate> GenerateAsync(IEnumerable<KimiMessage> messages, GenerationOptions? options, SessionState? session, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(messages);

        // A job is made per enumeration, but bad arguments are reported here, where the caller sees them.
        KimiMessage[] conversation = [.. messages];
        _ = ChatJob(conversation, options, streamed: true, cancellationToken);
        return Stream(token => Of(session, ChatJob(conversation, options, streamed: true, token)), cancellationToken);
    }

    internal IAsyncEnumerable<GenerationUpdate> GenerateAsync(ReadOnlyMemory<int> tokens, GenerationOptions? options, SessionState? session, CancellationToken cancellationToken)
    {
        _ = RawJob(tokens, options, streamed: true, cancellationToken);
        return Stream(token => Of(session, RawJob(tokens, options, streamed: true, token)), cancellationToken);
    }

    private static GenerationJob Of(SessionState? session, GenerationJob job)
    {
        job.Session = session;
        return job;
    }

    private static KimiModel Open(CheckpointFiles files, KimiModelOptions? options)
    {
        options ??= new KimiModelOptions();
        Require(options.Threads is null or >= 1 and <= 1024, nameof(options.Threads), options.Threads, "1 … 1024");
        Require(options.ContextLength is null or >= 1, nameof(options.ContextLength), options.ContextLength, "1 or more");
        Require(options.KvCacheBytes is null or >= 1, nameof(options.KvCacheBytes), options.KvCacheBytes, "1 or more");
        Require(options.PrefillChunk is >= 1 and <= 65536, nameof(options.PrefillChunk), options.PrefillChunk, "1 … 65536");
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
        string arithmetic = options.Exact ? "exact arithmetic" : options.Int8HotPath ? "fast arithmetic and 8-bit copies" : "fast arithmetic";
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

    private GenerationJob ChatJob(IEnumerable<KimiMessage> messages, GenerationOptions? options, bool streamed, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(messages);
        options ??= new GenerationOptions();
        ChatRenderer chat = _chat.Value;
        KimiMessage[] conversation = [.. messages];
        if (conversation.Length == 0)
        {
            throw new ArgumentException("A conversation has at least one message.", nameof(messages));
        }

        int[] prompt = chat.Render(conversation, new RenderOptions
        {
            Tools = options.Tools,
            Thinking = options.Thinking,
            PreserveThinking = options.PreserveThinking,
        });
        var layout = new AnswerLayout(chat.Markers, chat.StartOfReasoning(options.Thinking))
        {
            ToolNames = options.Tools.Select(t => t.Name).ToHashSet(),
            EarlierCalls = conversation.Sum(m => m.ToolCalls.Count),
        };
        return Job(prompt, options, layout, streamed, cancellationToken);
    }

    private GenerationJob RawJob(ReadOnlyMemory<int> tokens, GenerationOptions? options, bool streamed, CancellationToken cancellationToken)
    {
        if (tokens.Length == 0)
        {
            throw new ArgumentException("A prompt has at least one token.", nameof(tokens));
        }

        foreach (int token in tokens.Span)
        {
            Require(token >= 0 && token < Info.VocabularySize, nameof(tokens), token, $"token ids 0 … {Info.VocabularySize - 1}");
        }

        options ??= new GenerationOptions();
        if (options.Tools.Count > 0)
        {
            throw new ArgumentException("Tools are declared by the chat template, so they need messages; token ids are taken as they are.", nameof(options));
        }

        return Job(tokens.ToArray(), options, AnswerLayout.Plain, streamed, cancellationToken);
    }

    private GenerationJob Job(int[] prompt, GenerationOptions options, AnswerLayout layout, bool streamed, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        OptionChecks.Validate(options, Info.VocabularySize);
        int limit = Info.ContextLength;
        if (prompt.Length >= limit || options.MaxTokens > limit - prompt.Length)
        {
            string answer = options.MaxTokens is { } most ? $" and {most:N0} tokens of answer" : " and an answer";
            throw new ContextLengthException(
                $"A prompt of {prompt.Length:N0} tokens{answer} do not fit the {limit:N0} tokens that the context and the cache budget allow. "
                + "Shorten the conversation, lower MaxTokens, or raise KimiModelOptions.ContextLength or KvCacheBytes.")
            {
                NeededTokens = (int)Math.Min(int.MaxValue, prompt.Length + (long)(options.MaxTokens ?? 1)),
                AvailableTokens = limit,
            };
        }

        int maxTokens = options.MaxTokens ?? (limit - prompt.Length);
        var builder = new AnswerBuilder(Tokenizer, options, _endTokens, layout);
        return new GenerationJob(prompt, maxTokens, options, builder, streamed, ConstraintOf(options, layout, cancellationToken), cancellationToken)
        {
            Operation = layout == AnswerLayout.Plain ? "text_completion" : "chat",
        };
    }

    /// <summary>What the options demand of the answer; null where they leave the model free.</summary>
    private AnswerConstraint? ConstraintOf(GenerationOptions options, AnswerLayout layout, CancellationToken cancellationToken)
    {
        bool watchesTools = options.ToolChoice.Kind switch
        {
            ToolChoiceKind.Auto => options.Tools.Count > 0 && options.ConstrainToolArguments,
            ToolChoiceKind.None => layout.Markers.HasCalls,
            _ => true,
        };
        if (options.Constraint is null && !watchesTools)
        {
            return null;
        }

        ToolCallConstraint? tools = watchesTools
            ? new ToolCallConstraint(
                Tokenizer,
                [.. options.Tools.Select(t => (t.Name, t.Parameters ?? default))],
                options.ToolChoice,
                layout.EarlierCalls,
                options.ConstrainToolArguments,
                _toolSchemas,
                cancellationToken)
            : null;
        HashSet<int> end = [.. _endTokens, .. options.StopTokens.Where(Tokenizer.IsSpecial)];
        bool mayThink = layout.Start == ReasoningStart.ByModel;
        var tokens = new AnswerTokens(end, layout.Markers.Think, layout.Markers.EndThink, layout.Start == ReasoningStart.Opened, mayThink);
        return new AnswerConstraint(Tokenizer, tokens, options.Constraint, tools);
    }

    private GenerationResult Run(GenerationJob job)
    {
        using var telemetry = new CallTelemetry(Info.Name, job.Operation);
        try
        {
            _engine.Submit(job);
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

    private async IAsyncEnumerable<GenerationUpdate> Stream(Func<CancellationToken, GenerationJob> makeJob, CancellationToken callerToken, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        // Also cancelled when the consumer leaves the loop early, so that the engine stops working for nobody.
        using var source = CancellationTokenSource.CreateLinkedTokenSource(callerToken, cancellationToken);
        GenerationJob job = makeJob(source.Token);
        _engine.Submit(job);
        using var telemetry = new CallTelemetry(Info.Name, job.Operation);
        try
        {
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
