// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// Recorded launches, in groups of passes that replay the same ones: those of as many rows and splits. They are all that takes memory of the GPU while a
/// model runs. Where there is none left, a group that has not been used for long makes room; where there is no such group, launches go one by one for a while. No call fails.
/// </summary>
internal sealed class Recordings : IDisposable
{
    /// <summary>
    /// Passes for which a group is kept and, where no group could go, nothing is recorded. To record a pass takes as long as to launch a few of them one by one, so
    /// kinds of passes that take turns in too little memory must not push each other out each time.
    /// </summary>
    private const int PassesOfRest = 64;

    private readonly CudaContext _context;
    private readonly CudaStream _stream;
    private readonly Action<Segment> _put;
    private readonly Action<string>? _warn;
    private readonly Dictionary<(int Rows, int Splits), Group> _groups = [];
    private long _pass;
    private long _restsUntil;
    private bool _warned;

    /// <param name="context">The GPU.</param>
    /// <param name="stream">Of the passes.</param>
    /// <param name="put">Puts the launches of a segment into the stream.</param>
    /// <param name="warn">Told once where memory does not suffice; null for silence.</param>
    public Recordings(CudaContext context, CudaStream stream, Action<Segment> put, Action<string>? warn)
    {
        _context = context;
        _stream = stream;
        _put = put;
        _warn = warn;
    }

    /// <summary>Segments recorded now.</summary>
    public int Count => _groups.Values.Sum(g => g.Graphs.Count);

    private bool Rests => _pass < _restsUntil;

    /// <summary>Begins a pass, recorded or not.</summary>
    public void BeginPass() => _pass++;

    /// <summary>Launches a segment as a whole; records it first where it is a new one.</summary>
    /// <returns>Whether its launches are in the stream.</returns>
    public bool TryReplay(Segment segment)
    {
        if (!_groups.TryGetValue((segment.Rows, segment.Splits), out Group? group))
        {
            if (Rests)
            {
                return false;
            }

            _groups.Add((segment.Rows, segment.Splits), group = new Group());
        }

        group.LastPass = _pass;
        while (true)
        {
            try
            {
                if (!group.Graphs.TryGetValue((segment.Kind, segment.Layer), out CudaGraphExec? graph))
                {
                    if (Rests)
                    {
                        return false;
                    }

                    graph = Record(segment);
                    group.Graphs.Add((segment.Kind, segment.Layer), graph);
                }

                graph.Launch(_stream);
                return true;
            }
            catch (CudaException e) when (e.Result is CUResult.ErrorOutOfMemory or CUResult.ErrorNotReady)
            {
                // In WSL 2 the driver may call the want of memory by the other name, which these calls have no use for. It may be the first launch that finds no memory.
                if (group.Graphs.Remove((segment.Kind, segment.Layer), out CudaGraphExec? refused))
                {
                    refused.Dispose();
                }

                Warn(e);
                if (!MakeRoom())
                {
                    _restsUntil = _pass + PassesOfRest;
                    return false;
                }
            }
        }
    }

    public void Dispose()
    {
        foreach (Group group in _groups.Values)
        {
            group.Dispose();
        }

        _groups.Clear();
    }

    /// <summary>By itself, since what it captures would be allocated by every replay.</summary>
    private CudaGraphExec Record(Segment segment) => CudaGraphExec.Capture(_context, _stream, () => _put(segment));

    /// <summary>Gives up the group that was used least recently, unless that is not long ago. Its launches have run: the host has had the results of later passes.</summary>
    private bool MakeRoom()
    {
        ((int Rows, int Splits) key, Group oldest) = _groups.MinBy(g => g.Value.LastPass);
        if (_pass - oldest.LastPass < PassesOfRest)
        {
            return false;
        }

        oldest.Dispose();
        _groups.Remove(key);
        return true;
    }

    private void Warn(CudaException refused)
    {
        if (!_warned)
        {
            _warned = true;
            _warn?.Invoke(
                $"The GPU has no memory left to record launches ({refused.Call} failed with CUDA error {(int)refused.Result}): steps that are not recorded launch each kernel by itself, which takes longer. "
                + "A lower KvCacheBytes or GpuExpertBytes leaves more, and so do other programs that hold less (see nvidia-smi).");

            // Who is told may be the application, which may leave the thread another one.
            _context.SetCurrent();
        }
    }

    /// <summary>What passes that are alike replay.</summary>
    private sealed class Group : IDisposable
    {
        public Dictionary<(SegmentKind Kind, int Layer), CudaGraphExec> Graphs { get; } = [];

        public long LastPass { get; set; }

        public void Dispose()
        {
            foreach (CudaGraphExec graph in Graphs.Values)
            {
                graph.Dispose();
            }

            Graphs.Clear();
        }
    }
}
