// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cpu.Threading;

/// <summary>Machines with several NUMA nodes, simulated: which node does what does not depend on where the threads run.</summary>
[TestFixture]
internal sealed class NodeTests
{
    [TestCase(1, 4, 64)]
    [TestCase(2, 1, 64)]
    [TestCase(2, 2, 3)]
    [TestCase(2, 2, 1)]
    [TestCase(3, 1, 2)]
    [TestCase(3, 2, 7)]
    [TestCase(3, 1, 5)]
    public void Rows_of_an_expert_belong_to_the_same_node_whatever_is_chosen(int nodes, int threadsPerNode, int blocks)
    {
        using var pool = new WorkerPool(nodes * threadsPerNode, Machine(nodes, threadsPerNode), tie: false) { HelpsOtherNodes = false };
        var slices = new ExpertSlices(pool);
        var random = new Random(5);
        var nodesOfBlock = new ConcurrentDictionary<int, int>();
        var nodesOfShared = new ConcurrentDictionary<int, int>();
        var wrong = new ConcurrentQueue<string>();
        for (int round = 0; round < 300; round++)
        {
            // Experts of 1 to 16 tokens with 8 each, or of none.
            int[] experts = [.. Enumerable.Range(0, round % 17).SelectMany(_ => Enumerable.Range(0, 8).Select(_ => random.Next(40))).Distinct().Order()];
            int sharedItems = round % 3 == 0 ? 0 : blocks;
            slices.Build(sharedItems, experts.Length, experts.Length * blocks);
            var counts = new int[sharedItems + (experts.Length * blocks)];
            pool.Run(slices.NodeEnds, new PoolAction((begin, end, worker) =>
            {
                for (int place = begin; place < end; place++)
                {
                    int item = slices[place];
                    Interlocked.Increment(ref counts[item]);
                    bool shared = item < sharedItems;
                    int expert = shared ? -1 : experts[(item - sharedItems) / blocks];
                    int block = shared ? item : (item - sharedItems) % blocks;
                    int node = pool.NodeOf(worker);

                    // A single item is done by the caller, wherever it belongs.
                    if (counts.Length > 1 && (shared ? nodesOfShared : nodesOfBlock).GetOrAdd(block, node) != node)
                    {
                        wrong.Enqueue($"block {block} of expert {expert} on node {node}");
                    }

                    if (nodes == 1 && item != place)
                    {
                        wrong.Enqueue($"place {place} has item {item}");
                    }
                }
            }));
            Assert.That(counts, Is.All.EqualTo(1));
        }

        Assert.That(wrong, Is.Empty);
        int used = Math.Min(nodes, blocks);
        Assert.That(nodesOfBlock.Values.Distinct().Count(), Is.EqualTo(used));
        int[] sizes = [.. nodesOfBlock.GroupBy(b => b.Value).Select(g => g.Count())];
        Assert.That(sizes.Max() - sizes.Min(), Is.LessThanOrEqualTo(1));
    }

    [Test]
    public void Other_nodes_take_only_the_last_items()
    {
        using var pool = new WorkerPool(4, Machine(2, 2), tie: false);
        int most = 0;
        for (int round = 0; round < 300; round++)
        {
            var helped = new int[4];
            pool.Run(320, new PoolAction((begin, end, worker) =>
            {
                Thread.SpinWait(20);
                for (int i = begin; i < end; i++)
                {
                    if (i / 160 != pool.NodeOf(worker))
                    {
                        Interlocked.Increment(ref helped[i / 80]);
                    }
                }
            }));
            most = Math.Max(most, helped.Max());
        }

        // Of a share of 80 items.
        Assert.That(most, Is.LessThanOrEqualTo(10));
    }

    [TestCase(2, 1, true)]
    [TestCase(2, 2, true)]
    [TestCase(3, 1, true)]
    [TestCase(3, 3, false)]
    public void No_item_is_lost_or_done_twice(int nodes, int threadsPerNode, bool help)
    {
        using var pool = new WorkerPool(nodes * threadsPerNode, Machine(nodes, threadsPerNode), tie: false) { HelpsOtherNodes = help };
        long sum = 0;
        long expected = 0;
        var work = new PoolAction((begin, end, _) =>
        {
            for (int i = begin; i < end; i++)
            {
                Interlocked.Add(ref sum, (i * 31L) + 1);
            }
        });
        for (int run = 0; run < 20_000; run++)
        {
            pool.ActiveThreads = 1 + (run / 50 % pool.Threads);
            int items = run % 61;
            expected += (31L * items * (items - 1) / 2) + items;
            pool.Run(items, work);
            if (run % 4000 == 0)
            {
                Thread.Sleep(3);
            }
        }

        Assert.That(sum, Is.EqualTo(expected));
    }

    [Test]
    public void An_exception_on_any_node_ends_the_run([Values] bool help)
    {
        using var pool = new WorkerPool(3, Machine(3, 1), tie: false) { HelpsOtherNodes = help };
        for (int round = 0; round < 300; round++)
        {
            int bad = round % 90;
            Assert.That(
                () => pool.Run(90, new PoolAction((begin, end, _) =>
                {
                    if (bad >= begin && bad < end)
                    {
                        throw new InvalidDataException("item");
                    }
                })),
                Throws.TypeOf<InvalidDataException>());
            int done = 0;
            pool.Run(90, new PoolAction((begin, end, _) => Interlocked.Add(ref done, end - begin)));
            Assert.That(done, Is.EqualTo(90));
        }
    }

    /// <summary>A worker that comes too late for a run still looks for its items when other threads take part in the next one.</summary>
    [Test]
    public void Nodes_may_lose_their_threads_between_runs()
    {
        using var pool = new WorkerPool(4, Machine(2, 2), tie: false);
        long sum = 0;
        var work = new PoolAction((begin, end, _) => Interlocked.Add(ref sum, end - begin));
        const int Rounds = 1_000_000;
        for (int round = 0; round < Rounds; round++)
        {
            pool.ActiveThreads = 4;
            pool.Run(4, work);
            pool.ActiveThreads = 1;
        }

        Assert.That(sum, Is.EqualTo(4L * Rounds));
    }

    [Test]
    public void Items_for_a_node_without_threads_are_refused()
    {
        using var pool = new WorkerPool(2, Machine(2, 1), tie: false);
        pool.ActiveThreads = 1;
        var work = new PoolAction((_, _, _) => { });
        Assert.That(() => pool.Run([3, 4], work), Throws.ArgumentException);
        Assert.That(() => pool.Run([3, 2], work), Throws.ArgumentException);
        Assert.That(() => pool.Run([-1, 4], work), Throws.ArgumentException);
        Assert.That(() => pool.Run([3], work), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => pool.Run([3, 3], work), Throws.Nothing);
    }

    [Test]
    public void Items_are_done_once_however_they_are_divided_among_the_workers([Values(1, 2, 3)] int nodes, [Values] bool help)
    {
        const int Items = 97;
        using var pool = new WorkerPool(4 * nodes, Machine(nodes, 4), tie: false) { HelpsOtherNodes = help };
        var random = new Random(3);
        for (int round = 0; round < 500; round++)
        {
            // Also none for a worker, or all for one.
            int[] ends = [.. Enumerable.Range(1, pool.Threads - 1).Select(_ => random.Next(Items + 1)).Order(), Items];
            var counts = new int[Items];
            pool.RunShares(ends, new PoolAction((begin, end, _) =>
            {
                for (int i = begin; i < end; i++)
                {
                    Interlocked.Increment(ref counts[i]);
                }
            }));
            Assert.That(counts, Is.All.EqualTo(1));
        }
    }

    [Test]
    public void Items_for_a_worker_that_is_not_active_are_refused()
    {
        using var pool = new WorkerPool(4, Machine(2, 2), tie: false);
        pool.ActiveThreads = 2;
        var work = new PoolAction((_, _, _) => { });
        Assert.That(() => pool.RunShares([3, 4, 6, 6], work), Throws.ArgumentException);
        Assert.That(() => pool.RunShares([3, 3, 2, 2], work), Throws.ArgumentException);
        Assert.That(() => pool.RunShares([3, 3], work), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => pool.RunShares([3, 3, 6, 6], work), Throws.Nothing);
    }

    [TestCase("tiny-int4")]
    [TestCase("tiny-fp8")]
    [TestCase("tiny-k25")]
    public void Nodes_do_not_change_a_bit(string checkpoint)
    {
        foreach (Backend backend in new[] { Backend.CpuExact, Backend.CpuFast, Backend.CpuInt8 })
        {
            float[]? expected = null;
            foreach ((int nodes, int threadsPerNode) in new[] { (1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (5, 1) })
            {
                using var model = new ModelUnderTest(Repository.Checkpoint(checkpoint), backend, nodes * threadsPerNode, Machine(nodes, threadsPerNode));
                int[] tokens = [.. Enumerable.Range(0, 50).Select(i => ((i * 37) + 11) % model.Vocabulary)];
                float[] logits = model.Logits(tokens, 16, 1, 2, 3, 5, 1, 8);
                expected ??= logits;
                Assert.That(logits, Is.EqualTo(expected), $"{backend}, {nodes} nodes of {threadsPerNode} threads");
            }
        }
    }

    private static CpuTopology Machine(int nodes, int coresPerNode) =>
        new(Enumerable.Range(0, nodes * coresPerNode).Select(i => new LogicalProcessor(i, i, i / coresPerNode)));
}
