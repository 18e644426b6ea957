// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Numerics.Tensors;
using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>
/// The one thread that runs the model. Jobs join between steps; each step is one forward pass over the next token of
/// every running job and a chunk of the prompts that are still to be read. First come, first served: a job waits until
/// the cache has room for its prompt. What jobs have computed stays in the cache for those that begin with the same tokens.
/// Measures the memory's bandwidth in slices between. Sleeps when there is nothing to do.
/// </summary>
internal sealed class GenerationEngine : IDisposable
{
    private readonly ForwardPass _forward;
    private readonly KvCache _cache;
    private readonly int _prefillChunk;
    private readonly MemoryCeiling _ceiling;
    private readonly CacheCalls _cacheCalls = new();
    private readonly Action? _started;
    private readonly Thread _thread;
    private readonly object _gate = new();
    private readonly Queue<GenerationJob> _submitted = new();
    private readonly LinkedList<GenerationJob> _waiting = new();
    private readonly List<GenerationJob> _running = [];
    private readonly RaggedBatch _batch = new();
    private float[] _logits = [];
    private bool _disposed;

    /// <param name="forward">The model.</param>
    /// <param name="cache">Of all jobs.</param>
    /// <param name="prefillChunk">Most prompt tokens of a step.</param>
    /// <param name="memory">Measures the bandwidth.</param>
    /// <param name="started">Called once on the thread that runs the model, before anything else.</param>
    public GenerationEngine(ForwardPass forward, KvCache cache, int prefillChunk, IMemoryMeter memory, Action? started = null)
    {
        _started = started;
        _forward = forward;
        _cache = cache;
        _prefillChunk = prefillChunk;
        _ceiling = new MemoryCeiling(memory);
        _thread = new Thread(Loop) { IsBackground = true, Name = "kimi-engine" };
        _thread.Start();
    }

    /// <summary>Tokens that a single job can have at most: the context, or what the cache budget holds.</summary>
    public int MaxJobTokens => (int)Math.Min(_cache.ContextLength, (long)_cache.PageCapacity * KvPage.Tokens);

    /// <summary>Cache pages that neither a job nor a session holds. Exact only while nothing runs.</summary>
    public int FreePages => _cache.FreePages;

    /// <summary>Those of them that are known by their text. Exact only while nothing runs.</summary>
    public int ReusablePages => _cache.ReusablePages;

    public int PageCapacity => _cache.PageCapacity;

    /// <summary>Bytes of a token in the cache, over all layers.</summary>
    public int CacheBytesPerToken => _cache.BytesPerToken;

    private bool IsIdle => _running.Count == 0 && _waiting.Count == 0;

    /// <exception cref="ObjectDisposedException">The engine is disposed.</exception>
    public void Submit(GenerationJob job)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(IKimiModel));
            _submitted.Enqueue(job);
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
        while (TakeSubmitted())
        {
            try
            {
                _cacheCalls.Run(_cache);
                DropCancelled();
                Admit();
                long start = Stopwatch.GetTimestamp();
                if (BuildBatch())
                {
                    Step();
                }

                _ceiling.Advance(IsIdle, Stopwatch.GetElapsedTime(start));
            }
            catch (Exception e)
            {
                // Between steps little can fail but the growth of the cache; an exception here would end the process.
                FailAll(e);
            }
        }

        var disposed = new ObjectDisposedException(nameof(IKimiModel), "The model was disposed during the call.");
        _ceiling.End(disposed);
        FailAll(disposed);
        _cacheCalls.End();
    }

    private void FailAll(Exception error)
    {
        lock (_gate)
        {
            foreach (GenerationJob job in _running.Concat(_waiting).Concat(_submitted))
            {
                job.Fail(error);
            }

            _running.Clear();
            _waiting.Clear();
            _submitted.Clear();
        }
    }

    /// <summary>Moves new jobs to the waiting ones; sleeps while there is nothing to do. False when disposed.</summary>
    private bool TakeSubmitted()
    {
        lock (_gate)
        {
            while (!_disposed && _submitted.Count == 0 && !_cacheCalls.Any && IsIdle && !_ceiling.HasWork(idle: true))
            {
                Monitor.Wait(_gate);
            }

            while (!_disposed && _submitted.TryDequeue(out GenerationJob? job))
            {
                _waiting.AddLast(job);
            }

            return !_disposed;
        }
    }

    private void DropCancelled()
    {
        for (LinkedListNode<GenerationJob>? node = _waiting.First; node is not null;)
        {
            LinkedListNode<GenerationJob>? next = node.Next;
            if (node.Value.CancellationToken.IsCancellationRequested)
            {
                _waiting.Remove(node);
                node.Value.Fail(new OperationCanceledException(node.Value.CancellationToken));
            }

            node = next;
        }

        for (int i = _running.Count - 1; i >= 0; i--)
        {
            if (_running[i].CancellationToken.IsCancellationRequested)
            {
                End(_running[i], j => j.Cancel(_cache));
            }
        }
    }

    /// <summary>Lets waiting jobs in, in order, as long as their prompts have room.</summary>
    private void Admit()
    {
        while (_waiting.First is { } node)
        {
            GenerationJob job = node.Value;
            if (job.TryPrepare(_cache))
            {
                _running.Add(job);
            }
            else if (_running.Count == 0)
            {
                // Nobody is there who would give pages back.
                job.Fail(new ContextLengthException(
                    $"A prompt of {job.Prompt.Length:N0} tokens needs more pages than the {_cache.FreePages} of {_cache.PageCapacity} ({KvPage.Tokens} tokens each) that open sessions leave of the cache budget. "
                    + "Dispose sessions, or raise KimiModelOptions.KvCacheBytes."));
            }
            else
            {
                return;
            }

            _waiting.RemoveFirst();
        }
    }

    /// <summary>One row of every job that decodes, and prompt chunks of the others. False where nobody could move.</summary>
    private bool BuildBatch()
    {
        _batch.Clear();
        int budget = _prefillChunk;
        int logits = 0;
        foreach (GenerationJob job in _running)
        {
            KvSequence sequence = job.Sequence!;
            (job.StepFirstRow, job.StepRows, job.StepLogits) = (_batch.RowCount, 0, -1);
            int room = _forward.MaxRows - _batch.RowCount;
            if (room <= 0)
            {
                continue;
            }

            if (job.PromptDone)
            {
                // Without a free page the job pauses until another one ends.
                if (sequence.TryExtend(1))
                {
                    _batch.Add([job.NextToken], sequence.Length, sequence.Pages, LogitsWanted.Last);
                    (job.StepRows, job.StepLogits) = (1, logits++);
                }
            }
            else if (budget > 0)
            {
                job.Adopt();
                int rows = Math.Min(Math.Min(budget, room), job.Prompt.Length - sequence.Length);
                bool last = sequence.Length + rows == job.Prompt.Length;
                _batch.Add(job.Prompt.AsSpan(sequence.Length, rows), sequence.Length, sequence.Pages, last ? LogitsWanted.Last : LogitsWanted.None);
                (job.StepRows, job.StepLogits) = (rows, last ? logits++ : -1);
                budget -= rows;
                job.Begin();
            }
        }

        if (_batch.RowCount == 0 && _running.Count > 0)
        {
            // Everybody waits for a page: the youngest gives way. Its session keeps what it had, or no page would become free.
            End(_running[^1], job => job.Fail(new ContextLengthException(
                $"The cache budget of {_cache.PageCapacity} pages ({(long)_cache.PageCapacity * KvPage.Tokens:N0} tokens) is used up by {_running.Count} calls at once and the open sessions, and this one came last. "
                + "Raise KimiModelOptions.KvCacheBytes, set MaxTokens, or dispose sessions.")));
        }

        return _batch.RowCount > 0;
    }

    private void Step()
    {
        int vocabulary = _forward.Shape.VocabularySize;
        int size = _batch.LogitRows.Length * vocabulary;
        if (_logits.Length < size)
        {
            _logits = new float[size];
        }

        GenerationJob[] moving = [.. _running.Where(j => j.StepRows > 0)];
        try
        {
            _forward.Run(_batch, _logits.AsSpan(0, size));
        }
        catch (Exception e)
        {
            // The step's jobs are lost; the engine and the jobs outside the step go on.
            Exception reported = e is DeviceException ? new KimiException(e.Message, e) : e;
            Array.ForEach(moving, m => End(m, job => job.Fail(reported)));
            return;
        }

        foreach (GenerationJob job in moving)
        {
            if (job.IsDecoding)
            {
                job.Reads.Add(_forward.BytesRead, _forward.DriveBytesRead, moving.Length);
                _ceiling.NoteStep(_forward.BytesRead);
            }

            Span<float> logits = job.StepLogits >= 0 ? _logits.AsSpan(job.StepLogits * vocabulary, vocabulary) : [];
            if (NonFinitePlace(job, logits) is { } place)
            {
                FailNonFinite(job, place);
                continue;
            }

            // Only now are the tokens in the cache for others too.
            job.Sequence!.Advance(job.StepTokens);
            if (job.StepLogits >= 0)
            {
                Continue(job, logits);
            }
        }
    }

    /// <summary>Samples a job's next token, hands it out, and ends the job where it ends.</summary>
    private void Continue(GenerationJob job, Span<float> logits)
    {
        try
        {
            double logSumExp = job.Options.LogProbabilities ? LogProbabilities.LogSumExp(logits) : 0;
            float[]? before = job.Options.LogProbabilities ? logits.ToArray() : null;
            int token = job.Answer.ForcedToken is { } forced ? job.Sampler.Take(forced) : job.Sampler.Sample(logits);
            TokenLogProbability? logProbability = before is null
                ? null
                : new TokenLogProbability(token, (float)(before[token] - logSumExp), LogProbabilities.Top(before, logSumExp, job.Options.TopLogProbabilities));
            job.NextToken = token;
            job.Publish(job.Answer.Append(token, logProbability));
        }
        catch (Exception e)
        {
            End(job, j => j.Fail(e));
            return;
        }

        if (job.Answer.Ended)
        {
            End(job, j => j.Finish(FinishReason.Stop, _ceiling, _cache));
        }
        else if (job.Answer.Tokens.Count >= job.MaxTokens)
        {
            End(job, j => j.Finish(FinishReason.Length, _ceiling, _cache));
        }
    }

    /// <summary>Where a NaN or an infinity first appeared in a job's part of the step; null where none did.</summary>
    private string? NonFinitePlace(GenerationJob job, ReadOnlySpan<float> logits)
    {
        if (FirstNonFiniteLayer(job) is { } layer)
        {
            return $"layer {layer}";
        }

        return !logits.IsEmpty && !float.IsFinite(TensorPrimitives.MaxMagnitude(logits)) ? "the output head" : null;
    }

    /// <summary>The first layer that put a NaN or an infinity into any of a job's rows; from there it reaches the logits.</summary>
    private int? FirstNonFiniteLayer(GenerationJob job)
    {
        int? first = null;
        for (int row = job.StepFirstRow; row < job.StepFirstRow + job.StepRows; row++)
        {
            int layer = _forward.NonFiniteLayer(row);
            first = layer >= 0 && !(layer >= first) ? layer : first;
        }

        return first;
    }

    private void FailNonFinite(GenerationJob job, string place) => End(job, j => j.Fail(new KimiException(
        $"A NaN or an infinity appeared in {place} at position {j.Sequence!.Length + j.StepRows - 1}, so the logits are no numbers. The weights may be damaged: run `kimi verify`.")));

    private void End(GenerationJob job, Action<GenerationJob> how)
    {
        // In this order a job whose end fails is still known to FailAll, and its caller does not wait forever.
        how(job);
        _running.Remove(job);
    }
}
