// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// Which node reads which bytes of mapped experts, so that preloading has them come into the memory of that node, as the first steps would without it:
/// a page stays where the thread that first asks for it runs.
/// </summary>
internal sealed unsafe class ExpertPages
{
    private readonly WorkerPool _pool;
    private readonly List<Part> _parts = [];
    private readonly int[] _ends;

    /// <param name="weights">Views of mappings.</param>
    /// <param name="pool">Divides rows among its nodes.</param>
    public ExpertPages(ModelWeights weights, WorkerPool pool)
    {
        _pool = pool;
        _ends = new int[pool.NodeCount];
        foreach (MlpWeights expert in weights.Layers.SelectMany(l => l.Experts))
        {
            Add(expert.Gate);
            Add(expert.Up);
            Add(expert.Down);
        }

        _parts.Sort((a, b) => a.Begin.CompareTo(b.Begin));
    }

    /// <summary>
    /// Has each node bring in its part of a range, and nothing else: a page stays where it came in, for this start and later ones. What is no expert's, and scales
    /// that rows share, are left out. One call at a time.
    /// </summary>
    /// <param name="first">Address of the first byte.</param>
    /// <param name="bytes">Of the range.</param>
    /// <param name="bringIn">Told which worker it runs on, the first address and how many bytes.</param>
    public void BringIn(nint first, long bytes, Action<int, nint, long> bringIn)
    {
        nint end = first + (nint)bytes;
        Part[] parts = [.. _parts.Skip(FirstBehind(first)).TakeWhile(p => p.Begin < end).OrderBy(p => p.Node)];
        for (int n = 0; n < _ends.Length; n++)
        {
            _ends[n] = parts.Count(p => p.Node <= n);
        }

        var work = new PoolAction((begin, behind, worker) =>
        {
            for (int i = begin; i < behind; i++)
            {
                nint from = nint.Max(first, parts[i].Begin);
                bringIn(worker, from, nint.Min(end, parts[i].End) - from);
            }
        })
        {
            StaysOnNode = true,
        };

        // The pool's caller works for its first node and has to run there, but is somebody's who wants to go on running anywhere.
        OwnThread.Run("kimi-pages", () =>
        {
            _pool.TieCaller();
            _pool.Run(_ends, work);
            return _pool;
        }).GetAwaiter().GetResult();
    }

    private void Add(WeightMatrix weight)
    {
        _pool.CutByNode(WeightTile.TilesOf(weight.Rows), _ends);
        for (int node = 0, row = 0; node < _ends.Length; node++)
        {
            int count = Math.Min(_ends[node] * WeightTile.Rows, weight.Rows) - row;
            if (count > 0)
            {
                Add(weight.Data + (row * weight.RowBytes), count * weight.RowBytes, node);
                if (weight.Format == WeightFormat.Int4Group32)
                {
                    long scaleBytes = 2L * Int4Group32.GroupsPerRow(weight.Columns);
                    Add(weight.Scales + (row * scaleBytes), count * scaleBytes, node);
                }

                row += count;
            }
        }
    }

    private void Add(byte* first, long bytes, int node) => _parts.Add(new Part((nint)first, (nint)(first + bytes), node));

    /// <summary>The first part that does not end before an address; parts do not overlap.</summary>
    private int FirstBehind(nint address)
    {
        int low = 0, high = _parts.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _parts[middle].End <= address ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private readonly record struct Part(nint Begin, nint End, int Node);
}
