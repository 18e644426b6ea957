// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Threading;

[TestFixture]
internal sealed class LongestFirstTests
{
    [TestCase(3, 6, new[] { 0, 3, 1, 4, 2, 5 })]
    [TestCase(3, 8, new[] { 0, 3, 1, 4, 6, 2, 5, 7 })]
    [TestCase(4, 2, new[] { 0, 1 })]
    [TestCase(1, 3, new[] { 0, 1, 2 })]
    [TestCase(5, 0, new int[0])]
    public void Each_share_begins_with_a_long_item(int threads, int count, int[] expected)
    {
        var dealt = new int[count];
        LongestFirst.Deal<int>([.. Enumerable.Range(0, count)], threads, dealt);
        Assert.That(dealt, Is.EqualTo(expected));
    }
}
