// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

[TestFixture]
internal sealed class MemoryKeeperTests
{
    [TestCase(400, 0, 600, Description = "less than half of the reserve: the whole reserve is restored")]
    [TestCase(400, 100, 700, Description = "what is promised and given up gives nothing back")]
    [TestCase(0, 0, 1000)]
    [TestCase(-40_000, 0, 41_000, Description = "a limit below what is used: all of that at once")]
    [TestCase(-40_000, 300, 41_300)]
    [TestCase(500, 0, 0)]
    [TestCase(500, 30, 30, Description = "what is promised would leave less than half: that much is not to be taken")]
    [TestCase(1000, 500, 0)]
    [TestCase(1000, 0, 0)]
    [TestCase(2000, 0, 0)]
    [TestCase(2500, 0, -500, Description = "more than twice: the rest may be taken")]
    [TestCase(2500, 400, -100, Description = "what is promised is not promised again")]
    [TestCase(2500, 2200, 200)]
    public void Gives_back_when_little_is_left_and_takes_when_much_is(long available, long promised, long expected) =>
        Assert.That(MadeUpMemory.Keeper(1000, () => available).Excess(promised), Is.EqualTo(expected));

    /// <summary>As where only the runtime knows, and last looked when much was used.</summary>
    [Test]
    public void A_reading_that_is_no_newer_than_the_last_one_asks_for_nothing()
    {
        long collection = 7;
        MemoryKeeper keeper = MadeUpMemory.Keeper(1000, () => (Free: 100, collection));
        Assert.That(keeper.Excess(0), Is.EqualTo(900));
        Thread.Sleep(300);
        Assert.That(keeper.Excess(0), Is.Zero);
        collection++;
        Thread.Sleep(300);
        Assert.That(keeper.Excess(0), Is.EqualTo(900));
    }

    [Test]
    public void Does_not_ask_all_the_time()
    {
        int asked = 0;
        var keeper = MadeUpMemory.Keeper(1000, () => asked++);
        for (int i = 0; i < 1000; i++)
        {
            keeper.Excess(0);
        }

        Assert.That(asked, Is.InRange(1, 50));
    }
}
