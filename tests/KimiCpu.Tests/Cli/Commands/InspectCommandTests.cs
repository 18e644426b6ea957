// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Commands;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cli.Commands;

[TestFixture]
internal sealed class InspectCommandTests
{
    [TestCase(650, "all weights fit.")]
    [TestCase(590, "the experts do not all fit")]
    [TestCase(20, "what every token needs does not fit")]
    public void Says_whether_the_weights_fit_into_what_is_available(long available, string expected)
    {
        const long GB = 1_000_000_000;
        string line = InspectCommand.Fit(new ProcessMemory(available * GB, 700 * GB, null), 594 * GB, 571 * GB);
        Assert.That(line, Does.StartWith($"On this machine {available}.00 GB of 700.00 GB of memory are available: {expected}"));
        line = InspectCommand.Fit(new ProcessMemory(available * GB, 700 * GB, "/sys/fs/cgroup/job"), 594 * GB, 571 * GB);
        Assert.That(line, Does.StartWith("Within the limit of /sys/fs/cgroup/job ").And.Contain(expected));
    }
}
