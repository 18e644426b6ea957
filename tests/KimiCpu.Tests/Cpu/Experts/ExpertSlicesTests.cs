// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Experts;

/// <summary>A layer of Kimi K2 with 960 tokens: 64 items of the shared expert with all tokens, 64 of each routed one with its own, which are 20 on the average.</summary>
[TestFixture]
internal sealed class ExpertSlicesTests
{
    private const int Experts = 384;
    private const int Blocks = 64;
    private const int Tokens = 960;
    private const long SharedCost = 2 * Tokens;

    [Test]
    public void Shares_of_a_node_cost_the_same_up_to_an_item(
        [Values(1, 2, 3)] int nodes, [Values(2, 5, 32)] int threadsPerNode, [Values] bool popular, [Values] bool lessActive)
    {
        int threads = nodes * threadsPerNode;
        using var pool = new WorkerPool(threads, Machine(nodes, threadsPerNode), tie: false);
        pool.ActiveThreads = lessActive ? nodes * (threadsPerNode - 1) : threads;
        var slices = new ExpertSlices(pool);
        long[] costs = Costs(popular);
        slices.Build(Blocks, Experts, Experts * Blocks);
        slices.Divide(SharedCost, costs);

        int place = 0;
        for (int n = 0; n < nodes; n++)
        {
            int end = slices.NodeEnds[n];
            (int first, int active) = pool.ActiveOf(n);
            long[] passed = [0, .. Enumerable.Range(place, end - place).Select(p => CostOf(slices[p], costs))];
            for (int i = 1; i < passed.Length; i++)
            {
                passed[i] += passed[i - 1];
            }

            double even = (double)passed[^1] / active;
            for (int worker = first, begin = place; worker < first + threadsPerNode; worker++)
            {
                int shareEnd = slices.ShareEnds[worker];
                long cost = passed[shareEnd - place] - passed[begin - place];
                if (worker < first + active)
                {
                    Assert.That(cost, Is.EqualTo(even).Within(SharedCost), $"worker {worker}");
                }
                else
                {
                    Assert.That(shareEnd, Is.EqualTo(begin), "without a part in runs");
                }

                begin = shareEnd;
            }

            Assert.That(slices.ShareEnds[first + active - 1], Is.EqualTo(end));
            place = end;
        }
    }

    /// <summary>As of the waves of a store: the shared expert comes with the first of them, and one may be of a single expert.</summary>
    [TestCase(0, 1)]
    [TestCase(0, 0)]
    [TestCase(3, 0)]
    [TestCase(1, 1)]
    public void Few_items_meet_many_workers(int shared, int experts)
    {
        using var pool = new WorkerPool(10, Machine(2, 5), tie: false);
        var slices = new ExpertSlices(pool);
        slices.Build(shared, experts, experts * 3);
        slices.Divide(SharedCost, new long[experts].Select(_ => 7L).ToArray());
        Assert.That(slices.ShareEnds.ToArray(), Is.Ordered);
        Assert.That(slices.ShareEnds[4], Is.EqualTo(slices.NodeEnds[0]));
        Assert.That(slices.ShareEnds[9], Is.EqualTo(slices.NodeEnds[1]).And.EqualTo(shared + (3 * experts)));
        var counts = new int[shared + (3 * experts)];
        pool.RunShares(slices.ShareEnds, new PoolAction((begin, end, _) =>
        {
            for (int p = begin; p < end; p++)
            {
                Interlocked.Increment(ref counts[slices[p]]);
            }
        }));
        Assert.That(counts, Is.All.EqualTo(1));
    }

    private static long CostOf(int item, long[] costs) => item < Blocks ? SharedCost : costs[(item - Blocks) / Blocks];

    /// <param name="popular">Whether some experts have ten times the tokens of others.</param>
    private static long[] Costs(bool popular) => [.. Enumerable.Range(0, Experts).Select(e => popular && e % 50 == 7 ? 200L : 20L)];

    private static CpuTopology Machine(int nodes, int coresPerNode) =>
        new(Enumerable.Range(0, nodes * coresPerNode).Select(i => new LogicalProcessor(i, i, i / coresPerNode)));
}
