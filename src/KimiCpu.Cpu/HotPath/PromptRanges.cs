// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Cpu;

/// <summary>New tokens of a sequence for a head; rows are counted from the sequence's first.</summary>
internal readonly record struct HeadRows(int Head, int First, int Count);

/// <summary>
/// Cuts the new tokens of a sequence into ranges whose attention over expanded keys and values takes about equally long, for the heads that would leave
/// threads idle: those that do not go evenly into them, or all. Each range expands what it sees for itself, so heads are cut only where that ends earlier all the same. Ranges begin where
/// rows that pass over the context together do, so results do not depend on them.
/// </summary>
internal sealed class PromptRanges(ModelShape shape)
{
    /// <summary>Items a thread, at most, of heads that are cut: more even out little and expand often.</summary>
    private const int ItemsOfThread = 4;

    private const int Block = LatentAttention.MostQueries;

    private readonly List<(int First, int Count)> _ranges = [];
    private readonly List<(int First, int Count)> _tried = [];
    private readonly List<HeadRows> _longestFirst = [];
    private HeadRows[] _items = [];
    private int _start;
    private int _rows;

    /// <summary>In the order in which the pool divides them among threads.</summary>
    public ReadOnlySpan<HeadRows> Items => _items.AsSpan(0, _longestFirst.Count);

    /// <summary>Of an item. A later range may have more rows than the first one, since it ends where the new tokens do, and not behind whole groups.</summary>
    public int MostRows { get; private set; }

    /// <param name="start">Tokens before the new ones.</param>
    /// <param name="rows">New ones.</param>
    /// <param name="threads">That share all heads.</param>
    public void Make(int start, int rows, int threads)
    {
        _start = start;
        _rows = rows;
        int wholeHeads = Cut(threads);
        _longestFirst.Clear();
        MostRows = wholeHeads > 0 ? rows : 0;
        for (int head = 0; head < wholeHeads; head++)
        {
            _longestFirst.Add(new HeadRows(head, 0, rows));
        }

        if (wholeHeads < shape.HeadCount)
        {
            _ranges.Sort(ByWork);
            foreach ((int first, int count) in _ranges)
            {
                MostRows = Math.Max(MostRows, count);
                for (int head = wholeHeads; head < shape.HeadCount; head++)
                {
                    _longestFirst.Add(new HeadRows(head, first, count));
                }
            }
        }

        if (_items.Length < _longestFirst.Count)
        {
            _items = new HeadRows[_longestFirst.Count];
        }

        LongestFirst.Deal<HeadRows>(CollectionsMarshal.AsSpan(_longestFirst), threads, _items);
    }

    /// <summary>Makes the ranges of heads that are cut. Returns how many are not.</summary>
    private int Cut(int threads)
    {
        int inWholeTurns = shape.HeadCount / threads * threads;
        int whole = shape.HeadCount;
        if (inWholeTurns < whole)
        {
            long soonest = ((inWholeTurns / threads) + 1) * Work(0, _rows);
            whole = EndsSooner(inWholeTurns, threads, ref soonest) ? inWholeTurns : whole;
            whole = inWholeTurns > 0 && EndsSooner(0, threads, ref soonest) ? 0 : whole;
        }

        return whole;
    }

    /// <summary>Whether threads end sooner where only so many heads, the same for each thread, stay whole; makes the others' ranges.</summary>
    private bool EndsSooner(int wholeHeads, int threads, ref long soonest)
    {
        long whole = Work(0, _rows);
        int heads = shape.HeadCount - wholeHeads;
        int most = Math.Min((_rows + Block - 1) / Block, ItemsOfThread * threads / heads);
        bool found = false;
        for (int count = 2; count <= most; count++)
        {
            long longest = Shortest(count, whole);
            long turns = (((long)heads * count) + threads - 1) / threads;
            long end = (wholeHeads / threads * whole) + (turns * longest);
            if (end < soonest && TryCut(count, longest))
            {
                (soonest, found) = (end, true);
                _ranges.Clear();
                _ranges.AddRange(_tried);
            }
        }

        return found;
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

    private int ByWork((int First, int Count) one, (int First, int Count) other) =>
        Work(other.First, other.First + other.Count).CompareTo(Work(one.First, one.First + one.Count));

    /// <summary>Multiplications of a head: what the last row sees is expanded, and each row attends to what it sees.</summary>
    private long Work(int first, int end)
    {
        long expanding = (long)(_start + end) * (shape.NopeHeadSize + shape.ValueHeadSize) * shape.KeyValueLoraRank;
        long pairs = (long)(end - first) * (_start + ((first + end + 1L) / 2));
        return expanding + (pairs * (shape.NopeHeadSize + shape.RopeHeadSize + shape.ValueHeadSize));
    }
}
