// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

/// <summary>What memory a process may still take, read from a made-up Linux.</summary>
[TestFixture]
internal sealed class ProcessMemoryTests
{
    private string _root = "";

    [SetUp]
    public void MakeRoot()
    {
        _root = Directory.CreateTempSubdirectory("kimicpu").FullName;
        Write("proc/meminfo", "MemTotal:       65536000 kB\nMemFree:         1000000 kB\nMemAvailable:   32000000 kB\n");
    }

    [TearDown]
    public void DeleteRoot() => Directory.Delete(_root, recursive: true);

    [Test]
    public void Without_control_groups_it_is_what_the_kernel_says() => Assert.That(LinuxMemory.Read(_root)!.AvailableBytes, Is.EqualTo(32_000_000L << 10));

    /// <summary>The kernel does not count it as available, and it is half of the memory after a download.</summary>
    [TestCase("size                            4    20480000000\nc_min                           4    1024000000", 32_000_000L * 1024 + 19_456_000_000)]
    [TestCase("c_min                           4    1024000000\nsize                            4    1000000000", 32_000_000L * 1024)]
    [TestCase("size                            4    90480000000\nc_min                           4    1024000000", 65_536_000L * 1024)]
    [TestCase("size 4\nc_min 4 none", 32_000_000L * 1024)]
    public void The_cache_of_ZFS_is_available_but_for_its_least_size(string statistics, long expected)
    {
        Write("proc/spl/kstat/zfs/arcstats", $"13 1 0x01 147 39984 5 9\nname                            type data\nhits                            4    77\n{statistics}\n");
        Assert.That(LinuxMemory.Read(_root)!.AvailableBytes, Is.EqualTo(expected));
    }

    [Test]
    public void The_cache_of_a_hosts_ZFS_is_none_of_a_containers_memory()
    {
        Write("proc/spl/kstat/zfs/arcstats", "size                            4    20480000000\nc_min                           4    1024000000\n");
        Write("proc/self/mountinfo", "700 690 0:60 / /proc rw - proc proc rw\n701 700 0:55 /proc/meminfo /proc/meminfo rw,nosuid,nodev,relatime - fuse.lxcfs lxcfs rw\n");
        Assert.That(LinuxMemory.Read(_root)!.AvailableBytes, Is.EqualTo(32_000_000L * 1024));
    }

    [Test]
    public void A_group_of_version_2_counts_with_all_around_it_and_file_pages_as_free()
    {
        Write("proc/self/cgroup", "0::/work/job\n");
        Write("sys/fs/cgroup/work/job/memory.max", "max\n");
        Write("sys/fs/cgroup/work/job/memory.current", "1000\n");
        Write("sys/fs/cgroup/work/memory.max", "8000000\n");
        Write("sys/fs/cgroup/work/memory.current", "5000000\n");
        Write("sys/fs/cgroup/work/memory.stat", "anon 1\ninactive_file 250000\nactive_file 2000009\nunevictable 400000\n");
        Assert.That(LinuxMemory.Read(_root)!.AvailableBytes, Is.EqualTo(5_250_009));
    }

    [Test]
    public void A_group_of_version_1_is_found_beside_an_empty_one_of_version_2()
    {
        Write("proc/self/cgroup", "5:cpu:/\n4:memory:/job\n0::/\n");
        Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "77\n");
        Write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4000000\n");
        Write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "4500000\n");
        Write("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 3\ntotal_inactive_file 700000\ntotal_active_file 1500000\ntotal_unevictable 9\n");
        Assert.That(LinuxMemory.Read(_root)!.AvailableBytes, Is.EqualTo(1_700_000));
    }

    /// <summary>As systemd's MemoryHigh sets it: whoever uses more is slowed down until next to nothing goes on.</summary>
    [TestCase("max", "6000000", 5_000_000)]
    [TestCase("8000000", "6000000", 5_000_000)]
    [TestCase("6000000", "8000000", 5_000_000)]
    [TestCase("6000000", "max", 5_000_000)]
    [TestCase("max", "max", 32_000_000L << 10)]
    public void The_limit_that_slows_a_group_down_counts_as_the_one_that_ends_it(string max, string high, long available)
    {
        Write("proc/self/cgroup", "0::/job\n");
        Write("sys/fs/cgroup/job/memory.max", max + "\n");
        Write("sys/fs/cgroup/job/memory.high", high + "\n");
        Write("sys/fs/cgroup/job/memory.current", "1000000\n");
        ProcessMemory memory = LinuxMemory.Read(_root)!;
        Assert.That(memory.AvailableBytes, Is.EqualTo(available));
        Assert.That((memory.TotalBytes, memory.Limit), Is.EqualTo(available == 5_000_000 ? (6_000_000L, "/sys/fs/cgroup/job") : (65_536_000L << 10, (string?)null)));
    }

    /// <summary>Somebody who gives back no more than a part of that each time is slowed down meanwhile, until next to nothing goes on.</summary>
    [TestCase("6000000", "max", -2_500_000)]
    [TestCase("max", "5000000", -4_000_000)]
    [TestCase("6000000", "5000000", -4_000_000)]
    [TestCase("10000000", "max", 1_500_000)]
    public void A_limit_that_was_lowered_below_what_is_used_says_how_much_is_too_much(string inner, string outer, long unused)
    {
        Write("proc/meminfo", "MemTotal: 65536000 kB\nMemAvailable: 32000000 kB\nCommitLimit: 50000000 kB\nCommitted_AS: 49999000 kB\n");
        Write("proc/self/cgroup", "0::/work/job\n");
        Write("sys/fs/cgroup/work/job/memory.high", inner + "\n");
        Write("sys/fs/cgroup/work/job/memory.current", "9000000\n");
        Write("sys/fs/cgroup/work/job/memory.stat", "inactive_file 500000\n");
        Write("sys/fs/cgroup/work/memory.max", outer + "\n");
        Write("sys/fs/cgroup/work/memory.current", "9000000\n");
        ProcessMemory memory = LinuxMemory.Read(_root)!;
        Assert.That((memory.AvailableBytes, memory.UnusedBytes), Is.EqualTo((Math.Max(0, unused), unused)));
        Write("proc/sys/vm/overcommit_memory", "2\n");
        memory = LinuxMemory.Read(_root)!;
        Assert.That((memory.AvailableBytes, memory.UnusedBytes), Is.EqualTo((Math.Clamp(unused, 0, 1000 << 10), unused)));
    }

    [Test]
    public void A_container_sees_its_group_as_the_root_of_the_mount()
    {
        Write("proc/self/cgroup", "0::/system.slice/docker-1234.scope\n");
        Write("sys/fs/cgroup/memory.max", "6000000\n");
        Write("sys/fs/cgroup/memory.current", "1000000\n");
        Assert.That(LinuxMemory.Read(_root)!.AvailableBytes, Is.EqualTo(5_000_000));
    }

    /// <summary>As cpuset.mems of a control group says: other nodes' memory is not for this process, however much of it is free.</summary>
    [TestCase("0", "", 5_900_000, 20_000_000, "memory node 0")]
    [TestCase("0-1", "", 32_000_000, 65_536_000, null)]
    [TestCase("0-1", "bind:1 file=/usr/bin/kimi", 29_000_000, 40_000_000, "memory node 1")]
    [TestCase("0-1", "bind=static:0-2 file=/usr/bin/kimi", 32_000_000, 65_536_000, null)]
    [TestCase("0-1", "default file=/usr/bin/kimi", 32_000_000, 65_536_000, null)]
    [TestCase("0-1", "interleave:0 file=/usr/bin/kimi", 32_000_000, 65_536_000, null)]
    [TestCase("7", "", 32_000_000, 65_536_000, null)]
    [TestCase("x", "", 32_000_000, 65_536_000, null)]
    public void Memory_of_other_nodes_does_not_count(string allowed, string policy, long available, long total, string? limit)
    {
        Write("proc/self/status", $"Name:\tkimi\nMems_allowed:\t1\nMems_allowed_list:\t{allowed}\n");
        Write("proc/self/numa_maps", $"561e31166000 {policy}\n561e31168000 bind:0\n");
        Write("sys/devices/system/node/has_memory", "0-1\n");
        Write("sys/devices/system/node/node0/meminfo", Node(0, 20_000_000, 400_000, 2_500_000, 3_000_000));
        Write("sys/devices/system/node/node1/meminfo", Node(1, 40_000_000, 9_000_000, 10_000_000, 10_000_000));
        ProcessMemory memory = LinuxMemory.Read(_root, LinuxNodes.Bound(_root))!;
        Assert.That((memory.AvailableBytes, memory.UnusedBytes, memory.TotalBytes, memory.Limit), Is.EqualTo((available << 10, available << 10, total << 10, limit)));

        static string Node(int node, long total, long free, long active, long inactive) => string.Join('\n',
            $"Node {node} MemTotal:       {total} kB", $"Node {node} MemFree:        {free} kB", $"Node {node} Active:         7 kB",
            $"Node {node} Active(file):   {active} kB", $"Node {node} Inactive(file): {inactive} kB", "");
    }

    [Test]
    public void The_nodes_and_the_group_limit_both()
    {
        Write("proc/self/status", "Mems_allowed_list:\t0\n");
        Write("sys/devices/system/node/has_memory", "0-1\n");
        Write("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 20000000 kB\nNode 0 MemFree: 6000000 kB\n");
        Write("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 20000000 kB\nNode 1 MemFree: 6000000 kB\n");
        Write("proc/self/cgroup", "0::/job\n");
        Write("sys/fs/cgroup/job/memory.max", "8000000\n");
        Write("sys/fs/cgroup/job/memory.current", "1000000\n");
        Assert.That(LinuxMemory.Read(_root), Is.EqualTo(new ProcessMemory(7_000_000, 8_000_000, "/sys/fs/cgroup/job")));
        Write("sys/fs/cgroup/job/memory.max", "30000000000\n");
        Assert.That(LinuxMemory.Read(_root), Is.EqualTo(new ProcessMemory(6_000_000L << 10, 20_000_000L << 10, "memory node 0")));
    }

    /// <summary>Strict accounting refuses what is promised to others, used or not; in the usual modes nobody looks at it.</summary>
    [TestCase("0", 32_000_000, null)]
    [TestCase("1", 32_000_000, null)]
    [TestCase("2", 20_000_000, 20_000_000L)]
    public void Where_the_kernel_promises_no_more_than_it_has_the_rest_of_that_counts(string mode, long available, long? unpromised)
    {
        Write("proc/meminfo", "MemTotal: 65536000 kB\nMemAvailable: 32000000 kB\nCommitLimit: 50000000 kB\nCommitted_AS: 30000000 kB\n");
        Write("proc/sys/vm/overcommit_memory", mode + "\n");
        ProcessMemory memory = LinuxMemory.Read(_root)!;
        Assert.That((memory.AvailableBytes, memory.UnpromisedBytes, memory.UnusedBytes), Is.EqualTo((available << 10, unpromised << 10, 32_000_000L << 10)));
    }

    [TestCase("")]
    [TestCase("nonsense\n4:memory\n0::")]
    public void Broken_files_are_as_good_as_none(string text)
    {
        Write("proc/self/cgroup", text);
        Assert.That(LinuxMemory.Read(_root)!.AvailableBytes, Is.EqualTo(32_000_000L << 10));
    }

    [Test]
    public void This_machine_has_some()
    {
        long bytes = ProcessMemory.Now().AvailableBytes;
        Assert.That(bytes, Is.GreaterThan(50L << 20));
        Assert.That(bytes, Is.LessThanOrEqualTo(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes * 2));
    }

    [Test]
    public void What_the_runtime_knows_is_as_old_as_its_last_collection()
    {
        GC.Collect();
        long before = ProcessMemory.OfLastCollection().Collection!.Value;
        GC.Collect();
        ProcessMemory memory = ProcessMemory.OfLastCollection();
        Assert.That(memory.Collection, Is.GreaterThan(before));
        Assert.That(memory.AvailableBytes, Is.InRange(1, memory.TotalBytes));
    }

    [Test]
    public void The_system_tells_of_now() => Assert.That(ProcessMemory.Now().Collection, Is.Null);

    private void Write(string file, string text)
    {
        string path = Path.Combine(_root, file);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }
}
