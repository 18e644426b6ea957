// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>
/// The one thread that runs the model. Calls join and leave between steps; each step is one forward pass over the rows that
/// the <see cref="Scheduler"/> has chosen. What calls have computed stays in the cache for those that begin with the same
/// tokens. When the device of the cache is lost, every call that has begun ends, and another device may take its place.
/// Measures the memory's bandwidth in slices between, and lets others at the cache. Sleeps when there is nothing to do.
/// </summary>
internal sealed class GenerationEngine : IDisposable
{
    /// <summary>How often calls are looked at that wait for pages of a session that is saved, loaded or about to be disposed of: they may be cancelled, or too old.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(20);

    private readonly Scheduler _scheduler;
    private readonly string _model;
    private readonly MemoryCeiling _ceiling;
    private readonly IDeviceRecovery? _recovery;
    private readonly IPageTier? _tier;
    private readonly CacheCalls _cacheCalls;
    private readonly Action? _started;
    private readonly Thread _thread;
    private readonly object _gate = new();
    private readonly Queue<GenerationJob> _submitted = new();
    private readonly RaggedBatch _batch = new();
    private volatile ModelRunner _runner;
    private readonly Func<int, bool> _beforeLayer;
    private readonly Func<bool> _pagesMayReturn;
    private GenerationJob[] _moving = [];
    private float[] _logits = [];
    private float[] _kept = [];
    private volatile KimiException? _ended;
    private int _passing;
    private bool _awaitsPages;
    private volatile bool _disposed;

    /// <param name="runner">The model, and the cache of all jobs.</param>
    /// <param name="scheduler">Decides what each step does; over the same cache.</param>
    /// <param name="memory">Measures the bandwidth.</param>
    /// <param name="recovery">What to do when the device fails; null where it goes on.</param>
    /// <param name="started">Called once on the thread that runs the model, before anything else.</param>
    /// <param name="model">Its name, for listeners.</param>
    /// <param name="tier">The scheduler's; null where it has none.</param>
    public GenerationEngine(ModelRunner runner, Scheduler scheduler, IMemoryMeter memory, IDeviceRecovery? recovery = null, Action? started = null, string model = "", IPageTier? tier = null)
    {
        _tier = tier;
        _started = started;
        _runner = runner;
        _scheduler = scheduler;
        _recovery = recovery;
        _cacheCalls = new CacheCalls(() => _runner.Cache, failure => Recover(failure, ofStep: false));
        _model = model;
        _beforeLayer = BeforeLayer;

        // In this order: what was given up last is among the calls when nobody passes any more.
        _pagesMayReturn = () => Volatile.Read(ref _passing) > 0 || _cacheCalls.Any;
        Activity.NoteState(running: 0, waiting: 0, runner.Cache);
        _ceiling = new MemoryCeiling(memory, TimeProvider.System);
        _thread = new Thread(Loop) { IsBackground = true, Name = "kimi-engine" };
        tier?.Attach(this, runner);
        OwnThread.Start(_thread);
    }

    /// <summary>What computes now. Its cache is for the engine's thread; see <see cref="UseCache"/>.</summary>
    public ModelRunner Runner => _runner;

    /// <summary>Tokens that a single job can have at most: the context, or what the cache budget holds.</summary>
    public int MaxJobTokens
    {
        get
        {
            KvCache cache = _runner.Cache;
            return (int)Math.Min(cache.ContextLength, (long)cache.PageCapacity * KvPage.Tokens);
        }
    }

    /// <summary>Cache pages that neither a job nor a session holds. Exact only while nothing runs.</summary>
    public int FreePages => _runner.Cache.FreePages;

    /// <summary>Those of them that are known by their text. Exact only while nothing runs.</summary>
    public int ReusablePages => _runner.Cache.ReusablePages;

    public int PageCapacity => _runner.Cache.PageCapacity;

    /// <summary>Bytes of a token in the cache, over all layers.</summary>
    public int CacheBytesPerToken => _runner.Cache.BytesPerToken;

    /// <summary>See <see cref="KvCache.MoreRoom"/>.</summary>
    public string MoreRoom => _runner.Cache.MoreRoom;

    /// <summary>What goes on; see <see cref="EngineActivity"/>.</summary>
    public EngineActivity Activity { get; } = new(TimeProvider.System);

    /// <summary>Bytes per second that the memory can be read with; null until measured.</summary>
    public double? Bandwidth => _ceiling.BytesPerSecond;

    /// <summary>Why every call fails from now on; null while calls can run.</summary>
    public string? Failure => _ended?.Message;

    /// <summary>Refuses a call that <see cref="Submit"/> would refuse now, before anything is done for it.</summary>
    /// <exception cref="KimiBusyException">As many calls as allowed run or wait.</exception>
    /// <exception cref="KimiException">The device was lost and nothing has taken its place.</exception>
    /// <exception cref="ObjectDisposedException">The engine is disposed.</exception>
    public void ThrowIfNoMoreCalls()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(KimiModel));
            if (_ended is { } ended)
            {
                throw new KimiException(ended.Message, ended.InnerException);
            }

            _scheduler.ThrowIfFull(_submitted.Count);
        }
    }

    /// <exception cref="KimiBusyException">As many calls as allowed run or wait.</exception>
    /// <exception cref="KimiException">The device was lost and nothing has taken its place.</exception>
    /// <exception cref="ObjectDisposedException">The engine is disposed.</exception>
    public void Submit(GenerationJob job)
    {
        lock (_gate)
        {
            ThrowIfNoMoreCalls();
            job.Arrival = Stopwatch.GetTimestamp();
            _submitted.Enqueue(job);
            Activity.NoteWaiting(1);
            Monitor.Pulse(_gate);
        }
    }

    /// <summary>Measures the memory's read bandwidth; see <see cref="MemoryCeiling.Request"/>.</summary>
    /// <exception cref="ObjectDisposedException">The engine is disposed.</exception>
    public Task<double?> MeasureBandwidth()
    {
        Task<double?> outcome = _ceiling.Request();
        Wake();
        return outcome;
    }

    /// <summary>Does something with the cache on the thread that owns it, between steps.</summary>
    /// <exception cref="ObjectDisposedException">The engine is disposed; later the task fails with it.</exception>
    public Task<T> UseCache<T>(Func<KvCache, T> use)
    {
        Task<T> outcome = _cacheCalls.Add(use);
        Wake();
        return outcome;
    }

    /// <summary>Does something with the cache soon; nothing once the engine is disposed.</summary>
    public void PostToCache(Action<KvCache> use)
    {
        _cacheCalls.Post(use);
        Wake();
    }

    /// <summary>Notes that pages are held by somebody who gives them back, or may do so, when a session's file is done. No call fails for want of pages meanwhile.</summary>
    /// <param name="more">1 when it begins; -1 at its end, when the release has been posted.</param>
    public void NotePassing(int more)
    {
        Interlocked.Add(ref _passing, more);
        Wake();
    }

    /// <summary>Whether it is the engine that calls, which could not wait for its own end.</summary>
    public bool IsOnOwnThread => Thread.CurrentThread == _thread;

    /// <summary>For what waits until the engine has done something.</summary>
    /// <exception cref="InvalidOperationException">It is the engine that would wait, for itself and for ever.</exception>
    public void ThrowIfOnOwnThread()
    {
        if (IsOnOwnThread)
        {
            throw new InvalidOperationException("What a model calls while it computes, such as PromptProgress or a logger, was about to wait for that model, which would wait for it. Make the call from another thread, and do not wait for it there.");
        }
    }

    /// <summary>Ends all jobs with an <see cref="ObjectDisposedException"/> and returns when the thread has ended.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            Monitor.Pulse(_gate);
        }

        _thread.Join();
    }

    private void Wake()
    {
        lock (_gate)
        {
            Monitor.Pulse(_gate);
        }
    }

    private void Loop()
    {
        _started?.Invoke();
        bool callsMove = false;
        while (TakeSubmitted())
        {
            try
            {
                _cacheCalls.Run(besideCalls: callsMove);
                long start = Stopwatch.GetTimestamp();

                IReadOnlyList<ScheduledCall> moving = _scheduler.Plan(_pagesMayReturn);
                callsMove = moving.Count > 0;
                _awaitsPages = !callsMove && !_scheduler.IsIdle;
                NoteState();
                if (moving.Count > 0)
                {
                    Fill(moving);
                    Step([.. moving.Cast<GenerationJob>()], start);
                }

                NoteState();
                TimeSpan step = Stopwatch.GetElapsedTime(start);
                _ceiling.Advance(_scheduler.IsIdle, step);
                if (_cacheCalls.Serve(step))
                {
                    // There may be no further step for a long time.
                    NoteState();
                }
            }
            catch (DeviceException e)
            {
                // A copy of a page, for a call that was to begin or go on. The others have what they had, unless the device is lost.
                _scheduler.FailPrepared(Recover(e, ofStep: true));
                NoteState();
            }
            catch (Exception e)
            {
                // Between steps little can fail but the growth of the cache; an exception here would end the process.
                FailAll(e);
            }
        }

        var disposed = new ObjectDisposedException(typeof(KimiModel).FullName, "The model was disposed during the call.");
        _ceiling.End(disposed);
        FailAll(disposed);
        _cacheCalls.End();
        _tier?.Finish(_runner.Cache);
    }

    private void FailAll(Exception error)
    {
        lock (_gate)
        {
            _scheduler.FailAll(error);
            foreach (GenerationJob job in _submitted)
            {
                job.Fail(error);
            }

            _submitted.Clear();
            NoteState();
        }
    }

    /// <summary>Moves new jobs to the scheduler; sleeps while there is nothing to do. False when disposed.</summary>
    private bool TakeSubmitted()
    {
        lock (_gate)
        {
            while (!_disposed && _submitted.Count == 0 && !_cacheCalls.Any && _scheduler.IsIdle && !_ceiling.HasWork(idle: true))
            {
                Monitor.Wait(_gate);
            }

            if (_awaitsPages && !_disposed && _submitted.Count == 0 && !_cacheCalls.Any)
            {
                Monitor.Wait(_gate, s_look);
            }

            while (!_disposed && _submitted.TryDequeue(out GenerationJob? job))
            {
                _scheduler.Add(job);
            }

            return !_disposed;
        }
    }

    /// <summary>Says what calls and pages there are now.</summary>
    private void NoteState()
    {
        lock (_gate)
        {
            Activity.NoteState(_scheduler.Running.Count, _scheduler.Waiting.Count + _submitted.Count, _runner.Cache);
        }
    }

    private void Fill(IReadOnlyList<ScheduledCall> moving)
    {
        _batch.Clear();
        int logits = 0;
        foreach (GenerationJob job in moving)
        {
            KvSequence sequence = job.Sequence!;
            (job.StepFirstRow, job.StepLogits) = (_batch.RowCount, job.StepAnswers ? logits++ : -1);
            _batch.Add(job.StepTokens, sequence.Length, sequence.Pages, job.StepAnswers ? LogitsWanted.Last : LogitsWanted.None);
            job.Begin();
        }
    }

    private void Step(GenerationJob[] moving, long start)
    {
        ForwardPass forward = _runner.Forward;
        int vocabulary = forward.Shape.VocabularySize;
        int size = _batch.LogitRows.Length * vocabulary;
        if (_logits.Length < size)
        {
            _logits = new float[size];
        }

        try
        {
            _moving = moving;
            if (!forward.Run(_batch, _logits.AsSpan(0, size), _beforeLayer))
            {
                // All of its jobs end before the next step, and here those that nobody else would end.
                Array.ForEach(moving, EndIfListenerThrew);
                return;
            }
        }
        catch (Exception e)
        {
            // The step's jobs are lost, where they have not ended with their device; the engine and the jobs outside the step go on.
            Exception reported = e is DeviceException failure ? Recover(failure, ofStep: true) : e;
            Array.ForEach([.. moving.Where(m => _scheduler.Running.Contains(m))], m => _scheduler.End(m, job => job.Fail(reported)));
            return;
        }
        finally
        {
            // A model that has nothing to do holds no call.
            _moving = [];
        }

        NoteStep(moving, forward, Stopwatch.GetElapsedTime(start));
        foreach (GenerationJob job in moving)
        {
            if (job.StepDecodes)
            {
                job.Reads.Add(forward.BytesRead, forward.DriveBytesRead, moving.Length);
                _ceiling.NoteStep(forward.BytesRead);
            }

            Span<float> logits = job.StepLogits >= 0 ? _logits.AsSpan(job.StepLogits * vocabulary, vocabulary) : [];
            if (NonFiniteCheck.Of(forward, job, logits) is { } error)
            {
                _scheduler.End(job, j => j.Fail(error));
                continue;
            }

            // Only now are the tokens in the cache for others too.
            job.Sequence!.Advance(job.StepTokens);
            NotePrompt(job, ofStep: 0);
            if (job.Reporter?.Error is not null)
            {
                EndIfListenerThrew(job);
            }
            else if (job.StepLogits >= 0)
            {
                Continue(job, logits);
            }
        }
    }

    /// <summary>Tells how far prompts are, and whether anyone in the running step does not end with it whatever it computes.</summary>
    private bool BeforeLayer(int layer)
    {
        bool isWanted = false;
        foreach (GenerationJob job in _disposed ? [] : _moving)
        {
            NotePrompt(job, (int)((long)job.StepRows * layer / _runner.Forward.Shape.LayerCount));
            isWanted |= job.Reporter?.Error is null && !_scheduler.IsOver(job);
        }

        return isWanted;
    }

    /// <summary>Who has cancelled often throws too: such a call ends as a cancelled one before the next step, and its session keeps what was computed.</summary>
    private void EndIfListenerThrew(GenerationJob job)
    {
        if (job.Reporter?.Error is { } thrown && !_scheduler.IsOver(job))
        {
            _scheduler.End(job, j => j.Fail(thrown));
        }
    }

    /// <summary>Who has cancelled may have gone, and is told no more.</summary>
    private static void NotePrompt(GenerationJob job, int ofStep)
    {
        if (!job.StepDecodes && !job.CancellationToken.IsCancellationRequested)
        {
            job.Reporter?.Note(job.Sequence!.Length + ofStep, job.CachedTokens);
        }
    }

    /// <summary>Does what is to be done about a device that has failed.</summary>
    /// <param name="failure">Of the device.</param>
    /// <param name="ofStep">See <see cref="IDeviceRecovery.Recover"/>.</param>
    /// <returns>What to tell those whose calls end of it.</returns>
    private KimiException Recover(DeviceException failure, bool ofStep)
    {
        DeviceOutcome outcome;
        try
        {
            outcome = _recovery?.Recover(failure, ofStep) ?? new DeviceOutcome(new KimiException(failure.Message, failure));
        }
        catch (Exception e)
        {
            // Callers must hear of it, whatever it is, and the process must go on.
            outcome = new DeviceOutcome(new KimiException($"{failure.Message} What was to be done about it failed too: {e.Message}", e), IsEnd: true);
        }

        if (outcome.Next is { } next)
        {
            // In this order who hears of it finds the model ready.
            _runner = next;
            _tier?.Attach(this, next);
            _scheduler.MoveTo(next.Cache, next.PrefillChunk, next.Forward.EfficientRows, outcome.Error);
        }
        else if (outcome.IsEnd)
        {
            lock (_gate)
            {
                _ended = outcome.Error;
            }

            FailAll(outcome.Error);
        }

        return outcome.Error;
    }

    private void NoteStep(GenerationJob[] moving, ForwardPass forward, TimeSpan time)
    {
        _scheduler.NoteStep(time);
        int answers = moving.Count(j => j.StepAnswers);
        int prompts = moving.Where(j => !j.StepDecodes).Sum(j => j.StepRows);
        Activity.NoteStep(time, answers, prompts, forward.BytesRead, forward.DriveBytesRead, forward.Lookups);
        StepTelemetry.Tell(_model, time, prompts > 0, forward.DriveBytesRead, forward.Lookups);
    }

    /// <summary>Logits as they were before sampling overwrites them, until the next call's are kept.</summary>
    private ReadOnlySpan<float> Keep(ReadOnlySpan<float> logits)
    {
        if (_kept.Length < logits.Length)
        {
            _kept = new float[logits.Length];
        }

        logits.CopyTo(_kept);
        return _kept.AsSpan(0, logits.Length);
    }

    /// <summary>Samples a job's next token, hands it out, and ends the job where it ends.</summary>
    private void Continue(GenerationJob job, Span<float> logits)
    {
        try
        {
            // Rows that fill up the weights are no tokens.
            logits = logits[..Math.Min(logits.Length, job.Answer.Vocabulary)];
            ReadOnlySpan<float> before = job.Options.LogProbabilities ? Keep(logits) : [];
            int token = job.Answer.ForcedToken is { } forced ? job.Sampler.Take(forced) : job.Sampler.Sample(logits);
            TokenLogProbability? logProbability = before.IsEmpty ? null : LogProbabilities.Of(token, before, job.Options.TopLogProbabilities);
            job.NextToken = token;
            job.Publish(job.Answer.Append(token, logProbability));
        }
        catch (Exception e)
        {
            _scheduler.End(job, j => j.Fail(e));
            return;
        }

        if (job.Answer.Ended)
        {
            _scheduler.End(job, j => j.Finish(FinishReason.Stop, _ceiling, _runner.Cache));
        }
        else if (job.Answer.Tokens.Count >= job.MaxTokens)
        {
            _scheduler.End(job, j => j.Finish(FinishReason.Length, _ceiling, _runner.Cache));
        }
    }
}
