// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

[TestFixture]
internal sealed class MemoryKeeperTests
{
    [TestCase(400, 600, Description = "less than half of the reserve: the whole reserve is restored")]
    [TestCase(0, 1000)]
    [TestCase(500, 0)]
    [TestCase(1000, 0)]
    [TestCase(2000, 0)]
    [TestCase(2500, -500, Description = "more than twice: the rest may be taken")]
    public void Gives_back_when_little_is_left_and_takes_when_much_is(long available, long expected) =>
        Assert.That(MadeUpMemory.Keeper(1000, () => available).Excess(), Is.EqualTo(expected));

    /// <summary>As where only the runtime knows, and last looked when much was used.</summary>
    [Test]
    public void A_reading_that_is_no_newer_than_the_last_one_asks_for_nothing()
    {
        long collection = 7;
        MemoryKeeper keeper = MadeUpMemory.Keeper(1000, () => (Free: 100, collection));
        Assert.That(keeper.Excess(), Is.EqualTo(900));
        Thread.Sleep(300);
        Assert.That(keeper.Excess(), Is.Zero);
        collection++;
        Thread.Sleep(300);
        Assert.That(keeper.Excess(), Is.EqualTo(900));
    }

    [Test]
    public void Does_not_ask_all_the_time()
    {
        int asked = 0;
        var keeper = MadeUpMemory.Keeper(1000, () => asked++);
        for (int i = 0; i < 1000; i++)
        {
            keeper.Excess();
        }

        Assert.That(asked, Is.InRange(1, 50));
    }
}
