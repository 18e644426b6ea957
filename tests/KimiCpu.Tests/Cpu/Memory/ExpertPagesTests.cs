// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cpu.Tiles;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cpu.Memory;

/// <summary>Preloading on machines with several NUMA nodes, simulated: each byte of an expert is brought in by the node that will read it.</summary>
[TestFixture]
internal sealed unsafe class ExpertPagesTests
{
    [Test]
    [CancelAfter(60_000)]
    public void Each_node_brings_in_the_rows_that_it_reads([Values("tiny-int4", "tiny-fp8")] string checkpoint, [Values(1, 2, 3)] int nodes)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint(checkpoint), Backend.CpuFast, threads: 1);
        using WorkerPool pool = Pool(nodes);
        var ends = new int[nodes];
        foreach (List<WeightMatrix> run in Runs(model.Weights))
        {
            nint first = (nint)run[0].Data;
            int[] nodeOfByte = BringIn(new ExpertPages(model.Weights, pool), pool, first, [End(run[^1]) - first]);
            foreach (WeightMatrix matrix in run)
            {
                pool.CutByNode(WeightTile.TilesOf(matrix.Rows), ends);
                for (int row = 0; row < matrix.Rows; row++)
                {
                    int node = Array.FindIndex(ends, e => row < e * WeightTile.Rows);
                    ReadOnlySpan<int> bytes = nodeOfByte.AsSpan((int)((nint)matrix.Data - first) + (int)(row * matrix.RowBytes), (int)matrix.RowBytes);
                    Assert.That(bytes.IndexOfAnyExcept(node), Is.EqualTo(-1), $"row {row} of {matrix.Rows}");
                }
            }
        }
    }

    /// <summary>Requests end where they end, in the midst of an expert.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Pieces_bring_in_as_much_as_the_whole([Values(1, 700, 40_000)] int pieceBytes)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, threads: 1);
        using WorkerPool pool = Pool(2);
        List<WeightMatrix> run = Runs(model.Weights)[0];
        nint first = (nint)run[0].Data;
        nint bytes = Math.Min(End(run[^1]) - first, pieceBytes * 2000);
        var pages = new ExpertPages(model.Weights, pool);
        int[] whole = BringIn(pages, pool, first, [bytes]);
        int[] pieces = BringIn(pages, pool, first, [.. Enumerable.Range(0, (int)((bytes + pieceBytes - 1) / pieceBytes)).Select(i => nint.Min(pieceBytes, bytes - (i * pieceBytes)))]);
        Assert.That(pieces, Is.EqualTo(whole));
        Assert.That(whole, Does.Contain(0));
    }

    /// <summary>A page lies where the thread runs that brings it in, the one that works for the caller too; the caller itself is somebody else's thread and stays free.</summary>
    [Test]
    [Platform("Linux")]
    [CancelAfter(60_000)]
    public void Who_brings_bytes_in_runs_on_their_node()
    {
        LogicalProcessor[] real = [.. CpuTopology.OfThisProcess.PhysicalCores.Take(2)];
        Assume.That(real, Has.Length.EqualTo(2));
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, threads: 1);
        using var pool = new WorkerPool(2, new CpuTopology(real.Select((p, node) => new LogicalProcessor(p.Id, node, node))));
        string free = Processors();
        List<WeightMatrix> run = Runs(model.Weights)[0];
        var on = new ConcurrentQueue<(int Node, string Processors)>();
        new ExpertPages(model.Weights, pool).BringIn((nint)run[0].Data, End(run[^1]) - (nint)run[0].Data, (worker, _, _) => on.Enqueue((pool.NodeOf(worker), Processors())));
        Assert.That(on.Distinct().Order(), Is.EqualTo(real.Select((p, node) => (node, $"{p.Id}"))));
        Assert.That(Processors(), Is.EqualTo(free));

        static string Processors() => File.ReadLines("/proc/thread-self/status").First(l => l.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal)).Split('\t')[1];
    }

    /// <returns>Which node brought each byte in; -1 for nobody.</returns>
    private static int[] BringIn(ExpertPages pages, WorkerPool pool, nint first, nint[] pieces)
    {
        var nodeOfByte = new int[pieces.Sum(p => (long)p)];
        Array.Fill(nodeOfByte, -1);
        nint at = first;
        foreach (nint piece in pieces)
        {
            var broughtIn = new ConcurrentQueue<(int Node, int First, int Bytes)>();
            pages.BringIn(at, piece, (worker, address, count) => broughtIn.Enqueue((pool.NodeOf(worker), (int)(address - first), (int)count)));
            foreach ((int node, int begin, int bytes) in broughtIn)
            {
                Assert.That(bytes > 0 && begin >= at - first && begin + bytes <= at - first + piece);
                Assert.That(nodeOfByte.AsSpan(begin, bytes).IndexOfAnyExcept(-1), Is.EqualTo(-1), "once");
                nodeOfByte.AsSpan(begin, bytes).Fill(node);
            }

            at += piece;
        }

        return nodeOfByte;
    }

    /// <summary>Matrices that lie near to each other, by rising address: those of a file.</summary>
    private static List<List<WeightMatrix>> Runs(ModelWeights weights)
    {
        var runs = new List<List<WeightMatrix>>();
        foreach (WeightMatrix matrix in weights.Layers.SelectMany(l => l.Experts).SelectMany(e => new[] { e.Gate, e.Up, e.Down }).OrderBy(m => (nint)m.Data))
        {
            if (runs.Count == 0 || (nint)matrix.Data - End(runs[^1][^1]) > 1 << 20)
            {
                runs.Add([]);
            }

            runs[^1].Add(matrix);
        }

        return runs;
    }

    private static nint End(WeightMatrix matrix) => (nint)(matrix.Data + (matrix.Rows * matrix.RowBytes));

    private static WorkerPool Pool(int nodes) =>
        new(2 * nodes, new CpuTopology(Enumerable.Range(0, 2 * nodes).Select(i => new LogicalProcessor(i, i, i / 2))), tie: false);
}
