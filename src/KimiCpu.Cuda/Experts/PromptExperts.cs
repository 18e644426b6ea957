// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.ExceptionServices;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// What the GPU does of the routed experts in a pass of many tokens: those that it holds, and those of the others that are worth the way to it.
/// Of each layer the host, which has the router's choice by then, sorts the tokens by experts; while the CPU computes its own ones, a thread of its own
/// sends the others through the ring, as they are handed over. Between <see cref="Start"/> and <see cref="Join"/> the GPU belongs to that thread.
/// </summary>
internal sealed unsafe class PromptExperts : IDisposable
{
    private readonly CudaContext _context;
    private readonly CudaStream _stream;
    private readonly ModelWeights _weights;
    private readonly ExpertWork _work;
    private readonly HotExperts? _held;
    private readonly ExpertProgram _program;
    private readonly IStreamSplit _split;
    private readonly ExpertRing? _ring;
    private readonly WorkThread? _thread;
    private readonly CudaPageLockedHostMemory<uint> _tokens;
    private readonly CudaPageLockedHostMemory<float> _factors;
    private readonly bool[] _here;
    private readonly int[] _counts;
    private readonly List<Group> _groups = [];
    private readonly List<int> _candidates = [];
    private RoutedRows _rows;
    private int _streamed;
    private int _left;
    private long _leftTokens;
    private long _started;
    private double _gpuSeconds;
    private readonly PassingExperts? _passing;

    /// <param name="context">The GPU.</param>
    /// <param name="stream">Of the passes.</param>
    /// <param name="weights">Formats and shapes; the experts' bytes are handed over.</param>
    /// <param name="plan">What goes where.</param>
    /// <param name="program">Puts the kernels.</param>
    /// <param name="held">Those in spare memory; null for none.</param>
    /// <param name="split">Decides how many are streamed, where the plan has a ring.</param>
    public PromptExperts(CudaContext context, CudaStream stream, ModelWeights weights, Memory.MemoryPlan plan, ExpertProgram program, HotExperts? held, IStreamSplit split)
    {
        _context = context;
        _stream = stream;
        _weights = weights;
        _program = program;
        _work = program.Work;
        _held = held;
        _split = split;
        ModelShape shape = weights.Shape;
        _here = GC.AllocateArray<bool>(shape.ExpertCount, pinned: true);
        _counts = new int[shape.ExpertCount];
        long pairs = (long)plan.MaxRows * shape.ExpertsPerToken;
        _tokens = new CudaPageLockedHostMemory<uint>(context, pairs);
        try
        {
            _factors = new CudaPageLockedHostMemory<float>(context, pairs);
            _ring = plan.RingSlots > 0 ? new ExpertRing(context, stream, ExpertSlotLayout.Of(weights)!) : null;
            _thread = _ring is null ? null : new WorkThread("kimi-gpu-experts");
            _passing = _ring is null ? null : new PassingExperts(shape.ExpertCount);
        }
        catch
        {
            _ring?.Dispose();
            _factors?.Dispose();
            _tokens.Dispose();
            throw;
        }
    }

    /// <summary>Experts that have passed through the ring since the model was opened.</summary>
    public long Passed { get; private set; }

    /// <summary>Decides which experts of a layer the GPU computes.</summary>
    /// <returns>The rows, without these for others to compute. Valid until the next call.</returns>
    public RoutedRows Choose(int layer, RoutedRows rows)
    {
        _rows = rows;
        int experts = _weights.Shape.ExpertCount;
        Array.Clear(_counts);
        for (int pair = 0; pair < rows.RowCount * _weights.Shape.ExpertsPerToken; pair++)
        {
            _counts[rows.Experts[pair]]++;
        }

        bool* held = _held is null ? null : _held.HeldOf(layer);
        _candidates.Clear();
        (_left, _leftTokens, _streamed, _gpuSeconds) = (0, 0, 0, 0);
        for (int e = 0; e < experts; e++)
        {
            _here[e] = held != null && held[e];
            if (!_here[e] && _counts[e] > 0)
            {
                _candidates.Add(e);
                _left++;
                _leftTokens += _counts[e];
            }
        }

        if (_ring is not null && _candidates.Count > 0)
        {
            _candidates.Sort((a, b) => _counts[a] != _counts[b] ? _counts[b].CompareTo(_counts[a]) : a.CompareTo(b));
            _streamed = _split.Choose(layer, [.. _candidates.Select(e => _counts[e])]);
            foreach (int expert in _candidates.Take(_streamed))
            {
                _here[expert] = true;
                _left--;
                _leftTokens -= _counts[expert];
            }
        }

        _passing?.Begin(_candidates.Take(_streamed));
        fixed (bool* here = _here)
        {
            // The array is pinned. What is waited for is told also where none pass.
            return rows with { Elsewhere = here, Passing = _passing };
        }
    }

    /// <summary>Puts what the GPU does of the layer into the stream, behind its shared expert, and sends both off; goes on with streamed experts on another thread.</summary>
    public void Start(int layer)
    {
        Sort(layer);
        if (_groups.Count > 0 || _program.NeedsClearing(layer))
        {
            _program.BeginMany(layer, _rows.RowCount);
        }

        if (_groups.Count > 0)
        {
            long pairs = _groups.Sum(g => (long)g.Count);
            _stream.CopyToDevice(_work.PairTokens, _tokens.Pointer, pairs * sizeof(uint));
            _stream.CopyToDevice(_work.PairWeights, _factors.Pointer, pairs * sizeof(float));
            foreach (Group group in _groups.Where(g => !g.IsStreamed))
            {
                _program.PutMany(_held!.SlotOf((layer * _weights.Shape.ExpertCount) + group.Expert), group.First, group.Count);
            }
        }

        // The other thread waits for buffers first, and is not there where none are streamed.
        _stream.SendOff();
        if (_streamed > 0)
        {
            _thread!.Start(PassAll);
        }

        _started = Stopwatch.GetTimestamp();
    }

    /// <summary>Waits until all that the GPU does of the layer is in the stream.</summary>
    /// <exception cref="CudaException">A streamed expert has not come through.</exception>
    public void Join()
    {
        // Without what it waited for, which says nothing of its speed.
        double cpu = Stopwatch.GetElapsedTime(_started + (_passing?.TicksOfPass ?? 0)).TotalSeconds;
        if (_thread is { IsBusy: true } && _thread.Wait() is { } failure)
        {
            ExceptionDispatchInfo.Throw(failure);
        }

        _split.Note(new StreamedLayer(_streamed, _gpuSeconds, _left, _leftTokens, cpu));
    }

    /// <summary>Ends what a pass that was given up has begun. Its errors have been told, or show at the next call.</summary>
    public void Stop()
    {
        if (_thread is { IsBusy: true })
        {
            _passing!.End();
            _thread.Wait();
        }
    }

    /// <summary>After <see cref="Stop"/>: waits until no copy is under way.</summary>
    public void Synchronize() => _ring?.Synchronize();

    public void Dispose()
    {
        Stop();
        _thread?.Dispose();
        _ring?.Dispose();
        _factors.Dispose();
        _tokens.Dispose();
    }

    /// <summary>The pairs of the layer's experts on the GPU, by rising expert and token, and whose they are.</summary>
    private void Sort(int layer)
    {
        _groups.Clear();
        int next = 0;
        bool* held = _held is null ? null : _held.HeldOf(layer);
        for (int e = 0; e < _counts.Length; e++)
        {
            int count = _counts[e];
            if (_here[e] && count > 0)
            {
                _groups.Add(new Group(e, next, count, IsStreamed: held == null || !held[e]));
                (_counts[e], next) = (next, next + count);
            }
        }

        // The counts are now each expert's next free place.
        int chosen = _weights.Shape.ExpertsPerToken;
        for (int pair = 0; pair < _rows.RowCount * chosen; pair++)
        {
            if (_here[_rows.Experts[pair]])
            {
                int place = _counts[_rows.Experts[pair]]++;
                _tokens.Pointer[place] = (uint)(pair / chosen);
                _factors.Pointer[place] = _rows.Weights[pair];
            }
        }
    }

    private void PassAll()
    {
        long begin = Stopwatch.GetTimestamp();
        try
        {
            _context.SetCurrent();
            foreach (Group group in _groups.Where(g => g.IsStreamed))
            {
                if (!_ring!.Pass(_passing!, group.Expert, place => _program.PutMany(place, group.First, group.Count)))
                {
                    return;
                }

                Passed++;
            }
        }
        catch
        {
            // Whoever hands them over must not wait for a GPU that takes none.
            _passing!.End();
            throw;
        }

        // So that it is known what this took; what follows waits for it anyway.
        _ring!.WaitForLast();
        _gpuSeconds = Stopwatch.GetElapsedTime(begin + _passing!.TicksOfGpu).TotalSeconds;
    }

    /// <summary>An expert's pairs.</summary>
    private readonly record struct Group(int Expert, int First, int Count, bool IsStreamed);
}
