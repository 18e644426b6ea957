// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Memory;

/// <summary>On simulated machines: which node has which blocks.</summary>
[TestFixture]
internal sealed class BlockSlicesTests
{
    /// <summary>Pages lie where they were first written, and slices grow from pass to pass.</summary>
    [TestCase(1, 3, 100)]
    [TestCase(2, 1, 64)]
    [TestCase(2, 2, 1001)]
    [TestCase(3, 1, 1000)]
    [TestCase(3, 2, 7)]
    public void A_block_belongs_to_one_node_whatever_the_slices(int nodes, int threadsPerNode, int blocks)
    {
        var machine = new CpuTopology(Enumerable.Range(0, nodes * threadsPerNode).Select(i => new LogicalProcessor(i, i, i / threadsPerNode)));
        using var pool = new WorkerPool(nodes * threadsPerNode, machine, tie: false) { HelpsOtherNodes = false };
        var slices = new BlockSlices(pool, blocks);
        int[]? expected = null;
        foreach (int slice in new[] { pool.Threads, 2 * pool.Threads, 37, 256, blocks })
        {
            int[] nodeOf = [.. Enumerable.Repeat(-1, blocks)];
            var times = new int[blocks];
            for (int first = 0; first < blocks; first += slice)
            {
                slices.Cut(first, Math.Min(slice, blocks - first));
                pool.Run(slices.NodeEnds, new PoolAction((begin, end, worker) =>
                {
                    while (begin < end)
                    {
                        (int block, int count) = slices.Stretch(begin, end);
                        Assert.That(count, Is.InRange(1, end - begin));
                        for (int b = block; b < block + count; b++)
                        {
                            Interlocked.Increment(ref times[b]);

                            // A single item is done by the caller, wherever it belongs.
                            nodeOf[b] = slices.NodeEnds[^1] > 1 ? pool.NodeOf(worker) : -1;
                        }

                        begin += count;
                    }
                }));
            }

            Assert.That(times, Is.All.EqualTo(1), $"slices of {slice}");
            expected ??= nodeOf;
            Assert.That(nodeOf.Where((n, b) => n >= 0 && expected[b] >= 0 && n != expected[b]), Is.Empty, $"slices of {slice}");
            Assert.That(nodeOf.Where(n => n >= 0).Distinct().Count(), Is.EqualTo(nodes));
        }
    }
}
