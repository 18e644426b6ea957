// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Generation;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Where the opening of a model is.</summary>
internal enum ModelState
{
    /// <summary>Nobody has asked for it yet.</summary>
    Closed,

    /// <summary>It is being opened.</summary>
    Opening,

    /// <summary>It answers calls.</summary>
    Ready,

    /// <summary>It could not be opened; the next call tries again, or who asks a while later whether it is ready.</summary>
    Failed,

    /// <summary>It was open and can run no call any more; <see cref="KimiModelActivity.Failure"/> says why. Only a new process opens it again.</summary>
    Lost,
}

/// <summary>
/// Opens a model once, when the host starts or at the first call, and disposes of it with the services. Who waits shares one
/// opening; a failed one is told to all who waited for it, and the next call tries again.
/// </summary>
internal sealed class ModelHost : IHostedService, IDisposable
{
    private const string Nano = "kimi-nano";

    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _closing = new();
    private readonly IOptionsMonitor<KimiOptions> _options;
    private readonly IOptionsMonitorCache<KimiOptions> _cache;
    private readonly string _name;
    private readonly ILoggerFactory? _loggers;
    private Task<IKimiModel>? _opening;
    private volatile string? _openingName;
    private volatile string? _lastName;
    private volatile bool _sharesPrompts;
    private volatile Tuple<LoadProgress>? _progress;
    private long _failedAt;
    private bool _disposed;

    /// <param name="options">All sets of options.</param>
    /// <param name="cache">Where those keep what they have read.</param>
    /// <param name="name">Which of them.</param>
    /// <param name="loggers">For the model; null for silence.</param>
    public ModelHost(IOptionsMonitor<KimiOptions> options, IOptionsMonitorCache<KimiOptions> cache, string name, ILoggerFactory? loggers)
    {
        _options = options;
        _cache = cache;
        _name = name;
        _loggers = loggers;
    }

    /// <summary>Of the model, known before it is open. It keeps its name, whatever becomes of the configuration.</summary>
    /// <exception cref="OptionsValidationException">It is not open, and the options have not been valid since the host started.</exception>
    public string ModelName
    {
        get
        {
            lock (_gate)
            {
                if (!HasToOpen && _openingName is { } name)
                {
                    return name;
                }
            }

            // Not within the lock: a drive that does not answer would keep others from an open model.
            try
            {
                return _lastName = NameOf(Read());
            }
            catch (Exception) when (_lastName is { } last)
            {
                // What is wrong with them is for who calls, not for who asks for a name.
                return last;
            }
        }
    }

    /// <summary>Whether calls of the model find in the cache what others have asked; false until it is being opened.</summary>
    public bool SharesPrompts => _sharesPrompts;

    /// <summary>
    /// Whether the program itself opens the model next and ends where it cannot. Then nobody is to be told before that the first call
    /// opens it, and a failure is the program's to tell, not the log's: no call will try again.
    /// </summary>
    public bool IsOpenedByProgram { get; set; }

    /// <summary>How long after a failed opening those who only ask whether the model is ready begin the next one.</summary>
    public TimeSpan TimeToTryAgain { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Opens a model: its folder, null for the one that is embedded, and how.</summary>
    public Func<string?, KimiModelOptions, CancellationToken, Task<IKimiModel>> Opener { get; init; } = OpenModelAsync;

    /// <summary>How far the last opening has come; null where it has told nothing yet.</summary>
    public LoadProgress? Progress => _progress?.Item1;

    public ModelState State
    {
        get
        {
            lock (_gate)
            {
                return _opening is null ? ModelState.Closed
                    : !_opening.IsCompleted ? ModelState.Opening
                    : !_opening.IsCompletedSuccessfully ? ModelState.Failed
                    : _opening.Result.Activity.Failure is null ? ModelState.Ready
                    : ModelState.Lost;
            }
        }
    }

    /// <summary>Why the last opening failed; null where it did not.</summary>
    public Exception? Error
    {
        get
        {
            lock (_gate)
            {
                return _opening is { IsFaulted: true } ? _opening.Exception!.InnerException : null;
            }
        }
    }

    /// <summary>The open model; opens it where it is not open.</summary>
    /// <param name="cancellationToken">Ends the wait. The opening goes on for others.</param>
    /// <exception cref="OptionsValidationException">The options are not valid; as after any other failure, the next call tries again.</exception>
    /// <exception cref="ObjectDisposedException">The services are disposed, or were while the model was being opened.</exception>
    public Task<IKimiModel> OpenAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(KimiModel));
            if (HasToOpen)
            {
                _progress = null;
                _opening = Start();
            }

            return _opening!.WaitAsync(cancellationToken);
        }
    }

    /// <summary>The model where it is open, for those who only look at it.</summary>
    /// <param name="state">Of the model. Where the program opens it and ends where it cannot, it is being opened until it is open: no call does anything about it.</param>
    public IKimiModel? IfOpen(out ModelState state)
    {
        lock (_gate)
        {
            state = State;
            if (state is ModelState.Ready or ModelState.Lost)
            {
                return _opening!.Result;
            }

            state = IsOpenedByProgram ? ModelState.Opening : state;
            return null;
        }
    }

    /// <summary>
    /// Whether calls may come, for those who let them come only then. A model that the first call opens waits for that call; and where the
    /// last opening failed a while ago another one is begun, since no call would come to do it.
    /// </summary>
    /// <param name="state">Of the model.</param>
    public bool IsReadyForCalls(out ModelState state)
    {
        lock (_gate)
        {
            if (_opening is { IsFaulted: true } && !_disposed && !IsOpenedByProgram && Stopwatch.GetElapsedTime(_failedAt) >= TimeToTryAgain)
            {
                Begin();
            }

            state = State;
            return state == ModelState.Ready || (state == ModelState.Closed && !IsOpenedByProgram);
        }
    }

    public Task StartAsync(CancellationToken cancellationToken)
    {
        KimiOptions options = Read();
        lock (_gate)
        {
            // They may be wrong by the time that somebody asks for the name of a model that the first call opens.
            _lastName = NameOf(options);
        }

        if (options.OpenAtStart)
        {
            Begin();
        }

        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public void Dispose()
    {
        Task<IKimiModel>? opening;
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            opening = _opening;
        }

        _closing.Cancel();
        if (opening is not null)
        {
            // Where it was never open, the failure has been logged, or the opening was cancelled just now.
            Task.WhenAny(opening).GetAwaiter().GetResult();
            if (opening.IsCompletedSuccessfully)
            {
                opening.Result.Dispose();
            }
        }

        _closing.Dispose();
    }

    /// <summary>What of the options is the model's.</summary>
    internal static KimiModelOptions OptionsOf(KimiOptions options) => new()
    {
        Threads = options.Threads,
        TuneThreads = options.TuneThreads,
        Exact = options.Exact,
        Int8HotPath = options.Int8HotPath,
        Device = KimiDevice.Parse(options.Device),
        GpuExpertBytes = options.GpuExpertBytes,
        RuntimeCodeGeneration = options.RuntimeCodeGeneration,
        ContextLength = options.ContextLength,
        KvCacheBytes = options.KvCacheBytes,
        ExpertMemory = options.ExpertMemory,
        PreloadExperts = options.PreloadExperts,
        RememberExperts = options.RememberExperts,
        PrefixCaching = options.PrefixCaching,
        PromptCacheDirectory = string.IsNullOrWhiteSpace(options.PromptCacheDirectory) ? null : options.PromptCacheDirectory,
        PromptCacheBytes = options.PromptCacheBytes,
        PrefillChunk = options.PrefillChunk,
        Scheduling = new SchedulingOptions
        {
            MaxRunning = options.MaxRunning,
            MaxWaiting = options.MaxWaiting,
            MaxQueueTime = options.MaxQueueTime,
            MaxCallTime = options.MaxCallTime,
            MaxTokenGap = options.MaxTokenGap,
        },
    };

    /// <summary>Opens while nobody waits: whoever needs the model hears of a failure then; so do the log and the health check.</summary>
    private void Begin() =>
        _ = OpenAsync(CancellationToken.None).ContinueWith(t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);

    private bool HasToOpen => _opening is null or { IsFaulted: true } or { IsCanceled: true };

    /// <summary>By what is opened: beside <see cref="KimiOptions.Embedded"/> a path may be empty, since variables of the environment cannot take one away.</summary>
    private static string NameOf(KimiOptions options) =>
        options.Embedded ? Nano : KimiModel.NameOf(options.ModelPath!);

    /// <summary>
    /// The options as they are now. That they were wrong is not kept: a folder that was not there when somebody asked, on a drive that was
    /// not mounted yet, would stay missing for the life of the process.
    /// </summary>
    /// <exception cref="OptionsValidationException">They are not valid.</exception>
    private KimiOptions Read()
    {
        try
        {
            return _options.Get(_name);
        }
        catch (Exception)
        {
            _cache.TryRemove(_name);
            throw;
        }
    }

    /// <summary>
    /// Begins an opening, whose first part is to read the options: on another thread than the caller's, since they are bound then, and a drive may take long to say whether there is
    /// the folder. One that is stopped by the options fails like any other.
    /// </summary>
    private Task<IKimiModel> Start()
    {
        _openingName = null;
        return Task.Run(() =>
        {
            KimiOptions options;
            try
            {
                options = Read();
                _lastName = _openingName = NameOf(options);
                _sharesPrompts = options.PrefixCaching;
            }
            catch (Exception e)
            {
                TellFailure(_name.Length == 0 ? "Kimi" : _name, e);
                throw;
            }

            return OpenAsync(options);
        });
    }

    private async Task<IKimiModel> OpenAsync(KimiOptions options)
    {
        try
        {
            KimiModelOptions how = OptionsOf(options) with { LoggerFactory = _loggers, Progress = new Told(this) };
            return await Opener(options.Embedded ? null : options.ModelPath, how, _closing.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_closing.IsCancellationRequested)
        {
            // Who waits for the model has cancelled nothing.
            throw new ObjectDisposedException(typeof(KimiModel).FullName, "The services were disposed while the model was being opened.");
        }
        catch (Exception e)
        {
            TellFailure(options.Embedded ? Nano : options.ModelPath!, e);
            throw;
        }
    }

    /// <summary>Notes that an opening has failed, and logs why.</summary>
    private void TellFailure(string model, Exception error)
    {
        _failedAt = Stopwatch.GetTimestamp();
        if (_loggers is null || IsOpenedByProgram)
        {
            return;
        }

        try
        {
            HostLog.NotOpened(_loggers.CreateLogger<KimiModel>(), model, error.Message, IsToldByMessage(error) ? null : error);
        }
        catch (Exception)
        {
            // Those who wait are to hear why there is no model, and not why that cannot be logged.
        }
    }

    /// <summary>Whether an exception is about files and options: all of the library's own are.</summary>
    private static bool IsToldByMessage(Exception e) =>
        e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException or OptionsValidationException || e.GetType().Namespace?.StartsWith(nameof(KimiCpu), StringComparison.Ordinal) == true;

    private static async Task<IKimiModel> OpenModelAsync(string? path, KimiModelOptions options, CancellationToken cancellationToken) =>
        path is null ? KimiModel.OpenEmbedded(options) : await KimiModel.OpenAsync(path, options, cancellationToken).ConfigureAwait(false);

    /// <summary>In one piece, since others read while it is written.</summary>
    private sealed class Told(ModelHost host) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => host._progress = Tuple.Create(value);
    }
}
