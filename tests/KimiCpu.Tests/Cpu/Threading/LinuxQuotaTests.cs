// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Threading;

/// <summary>How much of the processors' time control groups leave a process, read from a made-up Linux of 64 processors.</summary>
[TestFixture]
internal sealed class LinuxQuotaTests
{
    private const int Count = 64;

    private string _root = null!;

    [SetUp]
    public void MakeRoot() => _root = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteRoot() => Directory.Delete(_root, recursive: true);

    [Test]
    public void Without_control_groups_it_is_what_the_runtime_counts() => Assert.That(LinuxQuota.Read(_root, 5, null), Is.EqualTo(5));

    /// <summary>As <c>systemctl set-property user-1000.slice CPUQuota=800%</c> writes it: the session's scope itself has no limit, and the runtime looks nowhere else.</summary>
    [TestCase("max 100000", "800000 100000", 8)]
    [TestCase("max 100000", "250000 100000", 2.5)]
    [TestCase("max 100000", "20000 10000", 2)]
    [TestCase("400000 100000", "800000 100000", 4)]
    [TestCase("800000 100000", "400000 100000", 4)]
    [TestCase("max 100000", "max 100000", Count)]
    [TestCase("max 100000", "9000000 100000", Count)]
    [TestCase("max 100000", "rubbish", Count)]
    [TestCase("", "800000 0", Count)]
    [TestCase("800000", "-1 100000", Count)]
    public void A_group_of_version_2_counts_with_all_around_it(string own, string around, double expected)
    {
        Write("proc/self/cgroup", "0::/user.slice/user-1000.slice/session-3.scope\n");
        Write("sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope/cpu.max", own + "\n");
        Write("sys/fs/cgroup/user.slice/user-1000.slice/cpu.max", around + "\n");
        Assert.That(LinuxQuota.Read(_root, Count, null), Is.EqualTo(expected));
    }

    /// <summary>A service of a container in which systemd runs: the container's limit is at the mount's root.</summary>
    [Test]
    public void A_containers_limit_is_that_of_its_services()
    {
        Write("proc/self/cgroup", "0::/system.slice/kimi.service\n");
        Write("sys/fs/cgroup/system.slice/kimi.service/cpu.max", "max 100000\n");
        Write("sys/fs/cgroup/cpu.max", "1600000 100000\n");
        Assert.That(LinuxQuota.Read(_root, Count, null), Is.EqualTo(16));
    }

    [TestCase("3:cpu:/job/child", "cpu")]
    [TestCase("3:cpu,cpuacct:/job/child", "cpu,cpuacct")]
    [TestCase("3:cpuacct,cpu:/job/child", "cpu")]
    public void A_group_of_version_1_counts_with_all_around_it(string line, string mount)
    {
        Write("proc/self/cgroup", "4:memory:/m\n" + line + "\n2:cpuset:/\n0::/\n");
        Write($"sys/fs/cgroup/{mount}/cpu.cfs_quota_us", "-1\n");
        Write($"sys/fs/cgroup/{mount}/cpu.cfs_period_us", "100000\n");
        Write($"sys/fs/cgroup/{mount}/job/cpu.cfs_quota_us", "600000\n");
        Write($"sys/fs/cgroup/{mount}/job/cpu.cfs_period_us", "50000\n");
        Write($"sys/fs/cgroup/{mount}/job/child/cpu.cfs_quota_us", "-1\n");
        Write($"sys/fs/cgroup/{mount}/job/child/cpu.cfs_period_us", "100000\n");
        Assert.That(LinuxQuota.Read(_root, Count, null), Is.EqualTo(12));
    }

    /// <summary>For the runtime, DOTNET_PROCESSOR_COUNT stands in place of every quota, and a value that it cannot read is as none.</summary>
    [TestCase("64", 64)]
    [TestCase(" 64", 64)]
    [TestCase("many", 8)]
    [TestCase("0", 8)]
    [TestCase(null, 8)]
    public void What_the_user_sets_stands_in_place_of_quotas(string? wanted, double expected)
    {
        Write("proc/self/cgroup", "0::/a\n");
        Write("sys/fs/cgroup/a/cpu.max", "800000 100000\n");
        Assert.That(LinuxQuota.Read(_root, Count, wanted), Is.EqualTo(expected));
    }

    /// <summary>A part of a processor's time counts as one, as for the runtime.</summary>
    [Test]
    public void The_quota_limits_a_process_to_so_many_threads_that_float()
    {
        Write("proc/self/cgroup", "0::/u.slice/s.scope\n");
        Write("sys/fs/cgroup/u.slice/cpu.max", "250000 100000\n");
        CpuTopology topology = LinuxTopology.Read(_root, [.. Enumerable.Range(0, Count)], Count, null);
        Assert.That((topology.PhysicalCores.Count, topology.Quota, topology.DefaultThreads), Is.EqualTo((Count, 3, 3)));
        Assert.That(WorkerPlacement.SuitsCores(topology, Count), Is.False);
    }

    private void Write(string path, string text)
    {
        string file = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }
}
