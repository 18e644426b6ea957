// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>
/// Whether what a grid has written is there when a flag says so. Memory is one and in order in the interpreter; on a GPU a write is seen elsewhere
/// only if a fence comes behind it: of its own thread, or of one that has met its thread at a barrier since. The
/// thread that has fenced then counts the block by an atomic, and the one that counts last fences again and raises the flag. A block alone need not count.
/// Times are counted in events.
/// </summary>
/// <param name="threads">Of a block.</param>
/// <param name="blocks">Of the grid.</param>
internal sealed class PtxPublication(int threads, long blocks)
{
    private readonly long[] _written = new long[threads];
    private readonly long[] _fenced = new long[threads];
    private readonly long[] _barrierOfFence = new long[threads];
    private readonly long[] _counted = new long[threads];
    private long _now;
    private long _barrier;
    private bool _isCounted;
    private string? _lost;

    /// <summary>Blocks run one after another.</summary>
    public void StartBlock()
    {
        if (!_isCounted && _written.Max() > 0)
        {
            _lost ??= "a block has written and does not count as finished";
        }

        foreach (long[] times in new[] { _written, _fenced, _barrierOfFence, _counted })
        {
            Array.Clear(times);
        }

        (_barrier, _isCounted) = (0, false);
    }

    public void Barrier() => _barrier = ++_now;

    public void Write(int thread) => _written[thread] = ++_now;

    public void Fence(int thread) => (_fenced[thread], _barrierOfFence[thread]) = (++_now, _barrier);

    public void Count(int thread)
    {
        _lost ??= Unfenced(thread);
        (_counted[thread], _isCounted) = (++_now, true);
    }

    /// <returns>What the flag comes before; null where all is well.</returns>
    public string? Raise(int thread) =>
        _lost ?? Unfenced(thread) ?? ((_isCounted ? _fenced[thread] > _counted[thread] : blocks == 1) ? null : "there is no fence between the count of blocks and the flag");

    /// <summary>A write that no fence of a thread covers.</summary>
    private string? Unfenced(int thread)
    {
        for (int other = 0; other < threads; other++)
        {
            if (_written[other] > (other == thread ? _fenced : _barrierOfFence)[thread])
            {
                return $"no fence of thread {thread} covers what thread {other} of its block has written";
            }
        }

        return null;
    }
}
