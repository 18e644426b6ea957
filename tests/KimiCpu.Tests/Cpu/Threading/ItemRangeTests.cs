// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Threading;

[TestFixture]
internal sealed class ItemRangeTests
{
    [TestCase(0, 0, 0)]
    [TestCase(1, 0, 1)]
    [TestCase((1 << 20) - 1, 0, ItemRange.MostItems)]
    [TestCase((1 << 20) - 1, ItemRange.MostItems, ItemRange.MostItems)]
    [TestCase(1 << 19, ItemRange.MostItems - 1, ItemRange.MostItems)]
    public void Run_and_items_come_back(int run, int begin, int end)
    {
        long range = ItemRange.Pack(run, begin, end);
        Assert.That(ItemRange.Run(range), Is.EqualTo(run));
        Assert.That(ItemRange.Items(range), Is.EqualTo((begin, end)));
    }

    [Test]
    public void The_number_behind_the_last_one_is_the_first()
    {
        Assert.That(ItemRange.RunAfter(0), Is.EqualTo(1));
        Assert.That(ItemRange.RunAfter((1 << 20) - 1), Is.Zero);
    }
}
