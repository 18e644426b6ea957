// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// The hot path on one GPU, sibling of the CPU's. The embedding stays in main memory. Passes of a few rows replay recorded
/// segments, two a layer; nothing but their launches and a look at a flag happens per layer. A row's results do not depend
/// on what else is in its batch, but for whether the batch is large enough for the kernels of many rows, which add in another order, and
/// whether so many tokens of its own sequence are in it that keys and values are expanded for them.
/// </summary>
internal sealed unsafe class CudaHotPath : IHotPath
{
    /// <summary>Most rows of a pass whose segments are recorded; larger ones are prefill, where launches do not matter.</summary>
    public const int GraphRows = 8;

    private readonly CudaContext _context;
    private readonly ModelWeights _weights;
    private readonly ModelShape _shape;
    private readonly int _maxRows;
    private readonly int _mostSplits;
    private readonly Stack<IDisposable> _owned = [];
    private readonly CudaStream _stream;
    private readonly Workspace _workspace;
    private readonly StepInputs _step;
    private readonly HandOver _handOver;
    private readonly DevicePages _pages;
    private readonly HotExperts? _experts;
    private readonly ExpertProgram? _expertProgram;
    private readonly PromptExperts? _prompt;
    private readonly LayerProgram _program;
    private readonly CudaPageLockedHostMemory<float> _embeddings;
    private readonly CudaEvent _embeddingsCopied;
    private readonly CudaPageLockedHostMemory<float> _logits;
    private readonly CudaPageLockedHostMemory<uint> _logitRows;
    private readonly CudaDeviceVariable<uint> _logitRowsOnDevice;
    private readonly CudaPageLockedHostMemory<uint> _notFinite;
    private readonly Recordings? _recordings;

    private RaggedBatch _batch = new();
    private uint _flagBase;
    private int _splits;
    private bool _notFiniteKnown;

    /// <param name="context">The GPU.</param>
    /// <param name="weights">Of the model; the embedding is read while the model runs, the rest now.</param>
    /// <param name="plan">What goes where.</param>
    /// <param name="options">How.</param>
    public CudaHotPath(CudaContext context, ModelWeights weights, MemoryPlan plan, CudaHotPathOptions options)
    {
        _context = context;
        _weights = weights;
        _shape = weights.Shape;
        _maxRows = plan.MaxRows;
        try
        {
            context.SetCurrent();
            _stream = Own(new CudaStream(context) { Collects = options.DriverCollects });
            KernelSet kernels = Own(new KernelSet(context));
            _mostSplits = kernels.MostSplits(_shape);
            var device = new DeviceWeights(weights, plan.Weights);
            _workspace = MemoryPlan.WorkspaceOf(weights, plan.MaxRows, plan.LookAhead, plan.ExpandedTokens);

            // Page-locked memory comes before weights, cache and activations: a driver that charges it to the GPU may refuse it for good once there was too little, where it only says so of the GPU's own.
            using var uploader = new WeightUploader(context, _stream);
            _step = Own(new StepInputs(context, _shape, plan.MaxRows, plan.Pages));
            _handOver = Own(new HandOver(context, _shape, plan.MaxRows, plan.LookAhead));
            _embeddings = Own(new CudaPageLockedHostMemory<float>(context, (long)plan.MaxRows * _shape.HiddenSize));
            _embeddingsCopied = Own(new CudaEvent(context));
            _logits = Own(new CudaPageLockedHostMemory<float>(context, (long)Workspace.LogitRows * _shape.VocabularySize));
            _logitRows = Own(new CudaPageLockedHostMemory<uint>(context, plan.MaxRows));
            _logitRowsOnDevice = Own(new CudaDeviceVariable<uint>(context, plan.MaxRows));
            _notFinite = Own(new CudaPageLockedHostMemory<uint>(context, plan.MaxRows));
            _experts = plan.ExpertSlots > 0 ? Own(new HotExperts(context, _stream, weights, plan, options.Placement!, options.ExpertFiles)) : null;
            if (plan.ExpertBytes > 0)
            {
                var work = new ExpertWork(_shape, plan.MaxRows);
                work.Place(Own(new CudaDeviceVariable<byte>(context, work.Bytes)).DevicePointer);
                _expertProgram = new ExpertProgram(_shape, device, kernels, _workspace, _handOver, _stream, options.ManyRows, work, _experts);
                IStreamSplit split = options.StreamSplit ?? new MeasuredSplit(ExpertSlotLayout.Of(weights)!.Bytes, Array.FindIndex(weights.Layers, l => l.IsMoe));
                _prompt = Own(new PromptExperts(context, _stream, weights, plan, _expertProgram, _experts, split));
            }

            _pages = Own(new DevicePages(context, _stream, _shape, plan.CacheFormat, plan.Pages));
            var weightMemory = Own(new CudaDeviceVariable<byte>(context, device.Bytes));
            _workspace.Place(Own(new CudaDeviceVariable<byte>(context, _workspace.Bytes)).DevicePointer);

            // Weights come last: until then whoever opens the GPU may do with less memory and try again.
            _stream.Clear(_workspace.Finished, sizeof(uint));
            device.Upload(weightMemory.DevicePointer, uploader, KeepingContext(options.Progress));
            _experts?.Fill(uploader, KeepingContext(options.ExpertProgress), options.DrivePatience);
            uploader.Finish();
            _program = new LayerProgram(_shape, device, kernels, _workspace, _step, _handOver, _pages, _stream, options.ManyRows, plan.ExpandedRows, _expertProgram);
            _recordings = options.UseGraphs ? Own(new Recordings(context, _stream, Put, options.Warn)) : null;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public long BytesPerPage => _pages.BytesPerPage;

    public int MaxRows => _maxRows;

    public int EfficientRows => _program.EfficientRows;

    /// <summary>Routed experts on the GPU; null where there are none.</summary>
    public HotExperts? Experts => _experts;

    /// <summary>What the GPU does of the routed experts in passes of many tokens; null where it does nothing.</summary>
    public PromptExperts? Prompt => _prompt;

    /// <summary>Segments recorded now.</summary>
    public int GraphCount => _recordings?.Count ?? 0;

    /// <summary>Of main memory: the embedding's rows, and nothing else.</summary>
    public long BytesRead(RaggedBatch batch) => batch.RowCount * _weights.Embedding.RowBytes;

    /// <summary>All pages were made when the model was opened.</summary>
    public void ReservePages(int count)
    {
        if (count > _pages.Capacity)
        {
            throw new CudaException($"{count} cache pages are wanted; the GPU's plan has {_pages.Capacity}.");
        }
    }

    public void CopyPage(int source, int target)
    {
        Enter();
        _pages.Copy(source, target);
    }

    public void ReadPage(int page, int tokens, Span<byte> bytes)
    {
        Enter();
        _pages.Read(page, tokens, bytes);
    }

    public void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes)
    {
        Enter();
        _pages.Write(page, tokens, bytes);
    }

    public void Begin(RaggedBatch batch)
    {
        if (batch.RowCount > _maxRows)
        {
            throw new ArgumentException($"A pass of {batch.RowCount} tokens; the GPU's plan has room for {_maxRows}.", nameof(batch));
        }

        Enter();
        _batch = batch;
        _notFiniteKnown = false;

        // Every layer of every pass raises the flag to another value.
        _flagBase += (uint)_shape.LayerCount;
        _splits = SplitsOf(batch);
        _recordings?.BeginPass();
        _experts?.Advance();
        _step.Send(batch, _flagBase, _stream);
        _embeddingsCopied.Synchronize();
        for (int row = 0; row < batch.RowCount; row++)
        {
            EmbeddingRows.Decode(_weights.Embedding, batch.Tokens[row], new Span<float>(_embeddings.Pointer + ((long)row * _shape.HiddenSize), _shape.HiddenSize));
        }

        _stream.CopyToDevice(_workspace.Residual, _embeddings.Pointer, (long)batch.RowCount * _shape.HiddenSize * sizeof(float));
        _embeddingsCopied.Record(_stream);
    }

    /// <summary>The context is made current once more, as by <see cref="Finish"/> and all that follows: before each layer the application may be told of its prompt, beside experts its logger of memory, and either may leave the thread another one.</summary>
    public RoutedRows Attend(int layer)
    {
        _context.SetCurrent();
        Run(new Segment(SegmentKind.Attend, layer, _batch.RowCount, _splits));
        if (!_weights.Layers[layer].IsMoe)
        {
            return default;
        }

        if (!TakesMany)
        {
            // What it reads is on the GPU: put behind the router now, it costs the CPU nothing between the router's answer and its experts.
            RunShared(layer);
            _stream.SendOff();
        }

        int? guessed = _program.GuessedBy(layer);
        RoutedRows rows = _handOver.Receive(_flagBase + (uint)layer, _batch.RowCount, layer, _stream, guessed is not null);
        if (TakesMany)
        {
            rows = _prompt!.Choose(layer, rows);
        }
        else if (_experts is not null)
        {
            rows = rows with { Elsewhere = _experts.HeldOf(layer) };
        }

        return _experts is null ? rows : rows with
        {
            PredictedElsewhere = guessed is { } next ? _experts.HeldOf(next) : null,
        };
    }

    /// <summary>Of few tokens <see cref="Attend"/> has put it behind the router; either way it runs while the CPU computes the routed experts.</summary>
    public void StartShared(int layer)
    {
        if (TakesMany)
        {
            RunShared(layer);
            _prompt!.Start(layer);
        }
    }

    /// <summary>What reads it in a pass has run when a later layer's <see cref="Attend"/> returns, so nobody waits for that.</summary>
    public Span<float> RoutedSum => _handOver.RoutedOnHost[..(_batch.RowCount * _shape.HiddenSize)];

    /// <summary>The next layer's first kernel adds the sum; after the last layer one of its own.</summary>
    public void Finish(int layer)
    {
        if (TakesMany)
        {
            _prompt!.Join();
        }

        // Behind it: an error that stays is told in the words of the call that met it first.
        _context.SetCurrent();
        if (layer == _shape.LayerCount - 1)
        {
            Run(new Segment(SegmentKind.Finish, layer, _batch.RowCount, 0));
        }
    }

    public void Logits(ReadOnlySpan<int> rows, Span<float> logits)
    {
        int vocabulary = _shape.VocabularySize;
        ArgumentOutOfRangeException.ThrowIfNotEqual(logits.Length, rows.Length * vocabulary);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows.Length, _maxRows);
        _context.SetCurrent();
        for (int i = 0; i < rows.Length; i++)
        {
            _logitRows.Pointer[i] = (uint)rows[i];
        }

        _stream.CopyToDevice(_logitRowsOnDevice.DevicePointer, _logitRows.Pointer, (long)rows.Length * sizeof(uint));
        for (int first = 0; first < rows.Length; first += Workspace.LogitRows)
        {
            int count = Math.Min(Workspace.LogitRows, rows.Length - first);
            _program.Head(_logitRowsOnDevice.DevicePointer + ((ulong)first * sizeof(uint)), count);
            _stream.CopyToHost(_logits.Pointer, _workspace.Logits, (long)count * vocabulary * sizeof(float));
            if (first + count == rows.Length)
            {
                FetchNotFinite();
            }

            _stream.Synchronize();
            new ReadOnlySpan<float>(_logits.Pointer, count * vocabulary).CopyTo(logits[(first * vocabulary)..]);
        }

        _notFiniteKnown |= rows.Length > 0;
    }

    public int NonFiniteLayer(int row)
    {
        if (!_notFiniteKnown)
        {
            _context.SetCurrent();
            FetchNotFinite();
            _stream.Synchronize();
            _notFiniteKnown = true;
        }

        return (int)_notFinite.Pointer[row];
    }

    /// <summary>
    /// After a call that failed: waits until what it has put into the stream is done, so that nothing of it is under way
    /// in memory that later calls write.
    /// </summary>
    /// <returns>Whether the GPU can be used further; if not, it is lost.</returns>
    public bool Settle()
    {
        try
        {
            Enter();
            _stream.Synchronize();
            _prompt?.Synchronize();
            return true;
        }
        catch (CudaException e)
        {
            _context.MarkLost(e);
            return false;
        }
    }

    public void Dispose()
    {
        _prompt?.Stop();
        try
        {
            // What still runs must end before its memory goes. A GPU that is lost may run too, and gives back only to a thread that has it.
            _context.SetCurrentToRelease();
            if (_context.MayRelease)
            {
                _stream?.Synchronize();
                _prompt?.Synchronize();
            }
        }
        catch (CudaException)
        {
            // Everything is given back all the same.
        }

        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    private bool TakesMany => _expertProgram?.TakesMany(_batch.RowCount) == true;

    /// <summary>Begins a call of the thread that runs the passes. What a pass that failed has left on another thread ends first.</summary>
    private void Enter()
    {
        _prompt?.Stop();
        _context.SetCurrent();
    }

    /// <summary>Who is told may be the application, which may leave the thread another context, also where it ends the opening by an exception: what was made is given back then.</summary>
    private Action<int, int>? KeepingContext(Action<int, int>? progress) => progress is null ? null : (done, total) =>
    {
        try
        {
            progress(done, total);
        }
        catch
        {
            _context.SetCurrentToRelease();
            throw;
        }

        _context.SetCurrent();
    };

    private int SplitsOf(RaggedBatch batch)
    {
        int longest = 1;
        foreach (BatchSequence sequence in batch.Sequences)
        {
            longest = Math.Max(longest, sequence.Start + sequence.RowCount);
        }

        return KernelSet.GridSplits(longest, _mostSplits);
    }

    private void Run(Segment segment)
    {
        if (segment.Rows > GraphRows || _recordings?.TryReplay(segment) != true)
        {
            Put(segment);
        }
    }

    /// <summary>The shared expert, and of few tokens the routed ones that are here.</summary>
    private void RunShared(int layer)
    {
        if (_weights.Layers[layer].Shared is not null || _experts is not null)
        {
            Run(new Segment(SegmentKind.Shared, layer, _batch.RowCount, 0));
        }
    }

    /// <summary>Asks for the rows' marks; they are there when the stream is done.</summary>
    private void FetchNotFinite() => _stream.CopyToHost(_notFinite.Pointer, _step.NotFinite, (long)_batch.RowCount * sizeof(uint));

    private void Put(Segment segment)
    {
        switch (segment.Kind)
        {
            case SegmentKind.Attend:
                _program.Attend(segment.Layer, segment.Rows, segment.Splits, _batch.Sequences);
                break;
            case SegmentKind.Shared:
                _program.Shared(segment.Layer, segment.Rows);
                break;
            default:
                _program.Finish(segment.Layer, segment.Rows);
                break;
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }
}
