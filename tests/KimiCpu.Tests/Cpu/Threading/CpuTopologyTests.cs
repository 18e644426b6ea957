// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Threading;

[TestFixture]
internal sealed class CpuTopologyTests
{
    private static readonly WindowsAffinity s_unrestricted = new(0, [0, 1], SpansGroups: true);

    private string _folder = null!;

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [TestCase("0", new[] { 0 })]
    [TestCase("0-3,8-11\n", new[] { 0, 1, 2, 3, 8, 9, 10, 11 })]
    [TestCase(" 5, 7-7 ", new[] { 5, 7 })]
    [TestCase("\n", new int[0])]
    [TestCase("3-1", null)]
    [TestCase("a", null)]
    [TestCase("1-", null)]
    [TestCase("-1", null)]
    [TestCase("0-4000000000", null)]
    [TestCase("0-100000", null)]
    public void List_of_processors(string text, int[]? expected) => Assert.That(LinuxTopology.ParseList(text), Is.EqualTo(expected));

    [Test]
    public void Two_nodes_of_four_cores_with_two_threads_each()
    {
        WriteTwoNodes();
        CpuTopology topology = Read([.. Enumerable.Range(0, 16)]);
        Assert.That(topology.Nodes, Is.EqualTo(new[] { 0, 1 }));
        Assert.That(topology.PhysicalCores, Is.EqualTo(Enumerable.Range(0, 8).Select(i => new LogicalProcessor(i, i, i / 4))));
        Assert.That(topology.ProcessorsOf(1), Is.EqualTo(new[] { 4, 5, 6, 7, 12, 13, 14, 15 }));
        Assert.That((topology.Processors.Count, topology.DefaultThreads, topology.Quota), Is.EqualTo((16, 8, 16)));
    }

    [Test]
    public void A_mask_leaves_processors_out()
    {
        WriteTwoNodes();

        // The second thread of core 4 stands for it, since the mask lacks the first one.
        CpuTopology topology = Read([1, 6, 9, 12, 14]);
        Assert.That(topology.PhysicalCores.Select(c => c.Id), Is.EqualTo(new[] { 1, 6, 12 }));
        Assert.That(topology.PhysicalCores.Select(c => c.Node), Is.EqualTo(new[] { 0, 1, 1 }));
    }

    /// <summary>LXCFS with <c>--enable-cfs</c> says how many processors a container may use, counted from 0; the mask says which.</summary>
    [Test]
    public void A_list_of_processors_that_are_on_does_not_cut_the_mask()
    {
        WriteTwoNodes();
        Write("cpu/online", "0-7");
        Assert.That(Read([.. Enumerable.Range(4, 8)]).Processors.Select(p => p.Id), Is.EquivalentTo(Enumerable.Range(4, 8)));

        // A limit of time on all processors: several such containers would each be tied to the same first ones.
        Write("cpu/online", "0-3");
        var limited = new CpuTopology(LinuxTopology.Read(_folder, [.. Enumerable.Range(0, 16)], 4), 4);
        Assert.That((limited.PhysicalCores.Count, limited.DefaultThreads, WorkerPlacement.SuitsCores(limited, 4)), Is.EqualTo((8, 4, false)));
    }

    [Test]
    public void Without_a_mask_the_processors_that_are_on_count()
    {
        WriteTwoNodes();
        Write("cpu/online", "0-3,8-11");
        Assert.That(Read(null).PhysicalCores.Select(c => c.Id), Is.EqualTo(new[] { 0, 1, 2, 3 }));
    }

    [Test]
    public void Without_files_each_processor_is_a_core_of_one_node()
    {
        CpuTopology topology = Read([2, 3, 5]);
        Assert.That(topology.PhysicalCores, Is.EqualTo(new LogicalProcessor[] { new(2, 2, 0), new(3, 3, 0), new(5, 5, 0) }));
        Assert.That(Read(null).PhysicalCores, Has.Count.EqualTo(7));
        Assert.That(new CpuTopology([]).DefaultThreads, Is.EqualTo(1));
    }

    [Test]
    public void Damaged_files_are_as_missing_ones()
    {
        WriteTwoNodes();
        Write("cpu/cpu3/topology/thread_siblings_list", "rubbish");
        Write("cpu/cpu3/cache/index3/shared_cpu_list", "4-7");
        Write("cpu/online", "?");
        Write("node/node1/cpulist", "4-");
        Write("node/nodes/cpulist", "0-15");
        CpuTopology topology = Read([0, 3, 4, 8, 11]);
        Assert.That(topology.PhysicalCores, Is.EqualTo(new LogicalProcessor[] { new(0, 0, 0), new(3, 3, 0), new(4, 4, 0) }));
    }

    [Test]
    public void Quota_limits_the_threads_and_unties_them()
    {
        WriteTwoNodes();
        var topology = new CpuTopology(LinuxTopology.Read(_folder, [.. Enumerable.Range(0, 16)], 7), 3);
        Assert.That(topology.DefaultThreads, Is.EqualTo(3));
        Assert.That(WorkerPlacement.SuitsCores(topology, 3), Is.False);
        Assert.That(WorkerPlacement.SuitsCores(topology, 8), Is.False);
        Assert.That(WorkerPlacement.SuitsCores(Read([0, 1, 2, 3]), 4), Is.True);
        Assert.That(WorkerPlacement.SuitsCores(Read([0, 1, 2, 3]), 3), Is.False);
    }

    /// <summary>Where half of the threads are active, these are the first ones: half of each cache's cores, then, and not all of some.</summary>
    [Test]
    public void Cores_of_a_node_take_turns_by_their_third_level_caches()
    {
        WriteTwoNodes();
        foreach ((string list, int[] processors) in new[] { ("0-1,8-9", new[] { 0, 1, 8, 9 }), ("2-3,10-11", [2, 3, 10, 11]), ("4-7,12-15", [4, 5, 6, 7, 12, 13, 14, 15]) })
        {
            foreach (int cpu in processors)
            {
                Write($"cpu/cpu{cpu}/cache/index3/shared_cpu_list", list);
            }
        }

        CpuTopology topology = Read([.. Enumerable.Range(0, 16)]);
        Assert.That(topology.PhysicalCores.Select(c => c.Id), Is.EqualTo(new[] { 0, 2, 1, 3, 4, 5, 6, 7 }));
        Assert.That(topology.PhysicalCores.Select(c => c.Cache), Is.EqualTo(new[] { 0, 2, 0, 2, 4, 4, 4, 4 }));
        Assert.That(topology.Processors.Select(p => p.Id), Is.EqualTo(new[] { 0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15 }));
        Assert.That(WorkerPlacement.Of(topology, 8, cores: true).ProcessorsOf(1), Is.EqualTo(new[] { 2, 10 }));

        // Caches of different sizes, as where the mask leaves some of their cores out.
        Assert.That(Read([0, 1, 3, 4, 5]).PhysicalCores.Select(c => c.Id), Is.EqualTo(new[] { 0, 3, 1, 4, 5 }));
    }

    [Test]
    public void Threads_are_divided_among_the_nodes_by_their_cores()
    {
        var topology = new CpuTopology(Enumerable.Range(0, 12).Select(i => new LogicalProcessor(i, i, i < 8 ? 0 : 5)));
        Assert.That(Threads(12), Is.EqualTo(new[] { 8, 4 }));
        Assert.That(Threads(6), Is.EqualTo(new[] { 4, 2 }));
        Assert.That(Threads(2), Is.EqualTo(new[] { 1, 1 }));
        Assert.That(Threads(1), Is.EqualTo(new[] { 1 }));
        Assert.That(Threads(25).Sum(), Is.EqualTo(25));
        WorkerPlacement floating = WorkerPlacement.Of(topology, 6, cores: false);
        Assert.That(floating.ProcessorsOf(5), Is.EqualTo(new[] { 8, 9, 10, 11 }));
        Assert.That(WorkerPlacement.Of(topology, 12, cores: true).ProcessorsOf(9), Is.EqualTo(new[] { 9 }));
        Assert.That(WorkerPlacement.Of(topology, 1, cores: false).ProcessorsOf(0), Is.Empty);

        int[] Threads(int count) => [.. WorkerPlacement.Of(topology, count, cores: false).Nodes.Select(n => n.Threads)];
    }

    /// <summary>Where something else runs on one of a core's processors, its worker can go on on the other.</summary>
    [Test]
    public void A_worker_on_a_core_has_all_of_its_processors_that_are_allowed()
    {
        WriteTwoNodes();
        WorkerPlacement placement = WorkerPlacement.Of(Read([.. Enumerable.Range(0, 16)]), 8, cores: true);
        Assert.That(Enumerable.Range(0, 8).Select(placement.ProcessorsOf), Is.EqualTo(Enumerable.Range(0, 8).Select(w => new[] { w, w + 8 })));
        placement = WorkerPlacement.Of(Read([0, 1, 8, 13]), 3, cores: true);
        Assert.That(Enumerable.Range(0, 3).Select(placement.ProcessorsOf), Is.EqualTo(new int[][] { [0, 8], [1], [13] }));
    }

    [Test]
    public void There_is_room_for_threads_that_all_have_a_core_and_its_time()
    {
        LogicalProcessor[] four = [.. Enumerable.Range(0, 8).Select(i => new LogicalProcessor(i, i % 4, 0))];
        Assert.That(Rooms(null), Is.EqualTo(new[] { true, true, false }));
        Assert.That(Rooms(6), Is.EqualTo(new[] { true, true, false }));
        Assert.That(Rooms(3), Is.EqualTo(new[] { true, false, false }));

        // The fourth processor may be used for a half of the time.
        Assert.That(Rooms(3.5), Is.EqualTo(new[] { true, false, false }));
        Assert.That(new CpuTopology(four, 3.5).DefaultThreads, Is.EqualTo(4));

        bool[] Rooms(double? quota) => [.. new[] { 3, 4, 5 }.Select(new CpuTopology(four, quota).HasRoomFor)];
    }

    [Test]
    public void Windows_groups_cores_and_nodes()
    {
        // Two groups of two cores with two threads each; the second node's record is of an older system, without a count.
        byte[] cores = [.. Record(0, 0, 1, (0, 0b0011)), .. Record(0, 0, 1, (0, 0b1100)), .. Record(0, 0, 1, (1, 0b0011)), .. Record(0, 0, 1, (1, 0b1100))];
        byte[] nodes = [.. Record(1, 0, 1, (0, 0b1111)), .. Record(1, 3, 0, (1, 0b1111))];
        var topology = new CpuTopology(WindowsTopology.Read(cores, nodes, s_unrestricted, 8));
        Assert.That(topology.PhysicalCores, Is.EqualTo(new LogicalProcessor[] { new(0, 0, 0), new(2, 1, 0), new(64, 2, 3, Group: 1), new(66, 3, 3, Group: 1) }));

        // With one group the mask of the process counts; cut records end the list.
        Assert.That(WindowsTopology.Read(cores.AsSpan(0, 100), nodes, new WindowsAffinity(0b0110, [0], SpansGroups: true), 8).Select(p => p.Id), Is.EqualTo(new[] { 1, 2 }));
        Assert.That(WindowsTopology.Read([], [], s_unrestricted, 3), Has.Count.EqualTo(3));

        // A node over two groups.
        var wide = WindowsTopology.Read(cores, Record(1, 2, 2, (0, 0b1111), (1, 0b1111)), s_unrestricted, 8);
        Assert.That(wide.Select(p => p.Node), Is.All.EqualTo(2));
    }

    /// <summary>Windows 11 says all groups of a process that nobody restricts, older systems one, which means something only where the mask leaves some of it out.</summary>
    [TestCase(0b1111UL, new[] { 0, 1 }, true, new[] { 0, 1, 2, 3, 64, 65, 66, 67 })]
    [TestCase(0UL, new int[0], true, new[] { 0, 1, 2, 3, 64, 65, 66, 67 })]
    [TestCase(0b1111UL, new[] { 1 }, true, new[] { 64, 65, 66, 67 })]
    [TestCase(0b0011UL, new[] { 1 }, true, new[] { 64, 65 })]
    [TestCase(0b1111UL, new[] { 1 }, false, new[] { 0, 1, 2, 3, 64, 65, 66, 67 })]
    [TestCase(0UL, new[] { 0, 1 }, false, new[] { 0, 1, 2, 3, 64, 65, 66, 67 })]
    [TestCase(0b0011UL, new[] { 1 }, false, new[] { 64, 65 })]
    public void A_process_stays_in_the_groups_it_is_restricted_to(ulong mask, int[] groups, bool spansGroups, int[] expected)
    {
        byte[] cores = [.. Record(0, 0, 1, (0, 0b0011)), .. Record(0, 0, 1, (0, 0b1100)), .. Record(0, 0, 1, (1, 0b0011)), .. Record(0, 0, 1, (1, 0b1100))];
        Assert.That(WindowsTopology.Read(cores, [], new WindowsAffinity(mask, groups, spansGroups), 8).Select(p => p.Id), Is.EqualTo(expected));
    }

    /// <summary>96 cores with two threads each in three groups, of which .NET counts one.</summary>
    [Test]
    public void A_group_that_the_runtime_counts_is_no_quota()
    {
        List<LogicalProcessor> found = ThreeGroups();
        var topology = new CpuTopology(found, WindowsTopology.Quota(found, 64, isLimit: false));
        Assert.That(topology.DefaultThreads, Is.EqualTo(96));
        Assert.That(WorkerPlacement.SuitsCores(topology, 96));

        // Counts that are no group's size, or of the only group, or the user's or a job's, are.
        Assert.That(WindowsTopology.Quota(found, 24, isLimit: false), Is.EqualTo(24));
        Assert.That(WindowsTopology.Quota(found, 192, isLimit: false), Is.EqualTo(192));
        Assert.That(WindowsTopology.Quota(found, 64, isLimit: true), Is.EqualTo(64));
        Assert.That(WindowsTopology.Quota(found[..64], 64, isLimit: false), Is.EqualTo(64));
    }

    /// <summary>A thread can be tied to processors of one group only.</summary>
    [Test]
    public void Threads_that_float_are_divided_among_the_groups()
    {
        var oneNode = new CpuTopology(ThreeGroups());
        Assert.That(GroupsOf(oneNode, 95, 0, 95), Is.EqualTo(new Dictionary<int, int> { [0] = 32, [1] = 32, [2] = 31 }));

        // Two nodes of two groups each, the second one's uneven.
        var twoNodes = new CpuTopology(Enumerable.Range(0, 224).Select(i => new LogicalProcessor(i, i / 2, i / 128, Group: i / 64)));
        Assert.That(WorkerPlacement.Of(twoNodes, 100, cores: false).Nodes.Select(n => n.Threads), Is.EqualTo(new[] { 57, 43 }));
        Assert.That(GroupsOf(twoNodes, 100, 0, 57), Is.EqualTo(new Dictionary<int, int> { [0] = 29, [1] = 28 }));
        Assert.That(GroupsOf(twoNodes, 100, 57, 43), Is.EqualTo(new Dictionary<int, int> { [2] = 29, [3] = 14 }));
        Assert.That(WorkerPlacement.Of(twoNodes, 100, cores: false).ProcessorsOf(99), Is.EqualTo(Enumerable.Range(192, 32)));

        static Dictionary<int, int> GroupsOf(CpuTopology topology, int threads, int first, int count)
        {
            WorkerPlacement placement = WorkerPlacement.Of(topology, threads, cores: false);
            return Enumerable.Range(first, count).CountBy(w => placement.ProcessorsOf(w)[0] / 64).ToDictionary();
        }
    }

    [Test]
    public void This_process_has_processors()
    {
        CpuTopology topology = CpuTopology.OfThisProcess;
        Assert.That(topology.DefaultThreads, Is.InRange(1, Environment.ProcessorCount));
        Assert.That(topology.Processors.Select(p => p.Id), Is.Unique);
    }

    /// <summary>A model may be opened first by a thread that its owner has tied to a processor.</summary>
    [Test]
    [Platform("Linux")]
    public void A_thread_that_is_tied_sees_the_processors_of_the_process()
    {
        int[] all = [.. LinuxTopology.OfThisProcess().Processors.Select(p => p.Id)];
        if (all.Length == 1)
        {
            Assert.Ignore("One processor is all of them.");
        }

        bool tied = false;
        int[] seen = [];
        var thread = new Thread(() =>
        {
            tied = ThreadAffinity.TryTie(all.AsSpan(^1..));
            seen = [.. LinuxTopology.OfThisProcess().Processors.Select(p => p.Id)];
        });
        thread.Start();
        thread.Join();
        Assert.That(tied);
        Assert.That(seen, Is.EqualTo(all));
    }

    private static List<LogicalProcessor> ThreeGroups() => [.. Enumerable.Range(0, 192).Select(i => new LogicalProcessor(i, i / 2, 0, Group: i / 64))];

    private static byte[] Record(int kind, int number, int masks, params (int Group, ulong Mask)[] groups)
    {
        var record = new byte[32 + (16 * groups.Length)];
        BinaryPrimitives.WriteInt32LittleEndian(record, kind);
        BinaryPrimitives.WriteInt32LittleEndian(record.AsSpan(4), record.Length);
        BinaryPrimitives.WriteInt32LittleEndian(record.AsSpan(8), number);
        BinaryPrimitives.WriteUInt16LittleEndian(record.AsSpan(30), (ushort)masks);
        for (int i = 0; i < groups.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(32 + (16 * i)), groups[i].Mask);
            BinaryPrimitives.WriteUInt16LittleEndian(record.AsSpan(40 + (16 * i)), (ushort)groups[i].Group);
        }

        return record;
    }

    private CpuTopology Read(int[]? allowed) => new(LinuxTopology.Read(_folder, allowed, 7));

    private void WriteTwoNodes()
    {
        Write("cpu/online", "0-15\n");
        Write("node/node0/cpulist", "0-3,8-11\n");
        Write("node/node1/cpulist", "4-7,12-15\n");
        for (int cpu = 0; cpu < 16; cpu++)
        {
            Write($"cpu/cpu{cpu}/topology/thread_siblings_list", $"{cpu % 8},{(cpu % 8) + 8}\n");
        }
    }

    private void Write(string path, string text)
    {
        string file = Path.Combine(_folder, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }
}
