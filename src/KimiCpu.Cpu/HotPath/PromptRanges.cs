// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>
/// Cuts the new tokens of a sequence into ranges whose attention over expanded keys and values takes about equally long, where heads alone would leave
/// threads idle. Each range expands what it sees for itself, so it is cut only where that ends earlier all the same. Ranges begin where
/// rows that pass over the context together do, so results do not depend on them.
/// </summary>
internal sealed class PromptRanges(ModelShape shape)
{
    /// <summary>Items a thread, at most: more even out little and expand often.</summary>
    private const int ItemsOfThread = 4;

    private const int Block = LatentAttention.MostQueries;

    private readonly List<(int First, int Count)> _ranges = [];
    private readonly List<(int First, int Count)> _tried = [];
    private int _start;
    private int _rows;

    /// <summary>(first row, rows), counted from the sequence's first.</summary>
    public IReadOnlyList<(int First, int Count)> Ranges => _ranges;

    public int MostRows { get; private set; }

    /// <param name="start">Tokens before the new ones.</param>
    /// <param name="rows">New ones.</param>
    /// <param name="threads">That share the ranges of all heads.</param>
    public void Make(int start, int rows, int threads)
    {
        _start = start;
        _rows = rows;
        _ranges.Clear();
        _ranges.Add((0, rows));
        MostRows = rows;
        if (shape.HeadCount % threads == 0)
        {
            return;
        }

        long whole = Work(0, rows);
        long soonest = Turns(1) * whole;
        int most = Math.Min((rows + Block - 1) / Block, ItemsOfThread * threads / shape.HeadCount);
        for (int count = 2; count <= most; count++)
        {
            long longest = Shortest(count, whole);
            if (Turns(count) * longest < soonest && TryCut(count, longest))
            {
                soonest = Turns(count) * longest;
                _ranges.Clear();
                _ranges.AddRange(_tried);
            }
        }

        MostRows = _ranges.Max(r => r.Count);

        long Turns(int count) => (((long)shape.HeadCount * count) + threads - 1) / threads;
    }

    /// <summary>The least work of the longest of so many ranges.</summary>
    private long Shortest(int count, long whole)
    {
        long tooShort = whole / count - 1, enough = whole;
        while (enough - tooShort > 1 + (whole >> 10))
        {
            long middle = tooShort + ((enough - tooShort) / 2);
            (tooShort, enough) = TryCut(count, middle) ? (tooShort, middle) : (middle, enough);
        }

        return enough;
    }

    /// <summary>Takes rows as long as a range's work allows; false where the ranges do not reach the end.</summary>
    private bool TryCut(int count, long mostWork)
    {
        _tried.Clear();
        int first = 0;
        while (first < _rows && _tried.Count < count)
        {
            int end = first;
            while (end < _rows && Work(first, Math.Min(end + Block, _rows)) <= mostWork)
            {
                end = Math.Min(end + Block, _rows);
            }

            if (end == first)
            {
                return false;
            }

            _tried.Add((first, end - first));
            first = end;
        }

        return first == _rows;
    }

    /// <summary>Multiplications of a head: what the last row sees is expanded, and each row attends to what it sees.</summary>
    private long Work(int first, int end)
    {
        long expanding = (long)(_start + end) * (shape.NopeHeadSize + shape.ValueHeadSize) * shape.KeyValueLoraRank;
        long pairs = (long)(end - first) * (_start + ((first + end + 1L) / 2));
        return expanding + (pairs * (shape.NopeHeadSize + shape.RopeHeadSize + shape.ValueHeadSize));
    }
}
