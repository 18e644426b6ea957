// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

[TestFixture]
internal sealed unsafe class HugePagesTests
{
    /// <summary>The system itself rounds a length up to whole pages, and would take what lies behind.</summary>
    [TestCase(0, 0)]
    [TestCase(1, 0)]
    [TestCase(0, -1)]
    [TestCase(100, -100)]
    [TestCase(0, 1)]
    public void Only_whole_pages_of_a_block_are_given_back(int begin, int end)
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Only Linux says what is in pages that were given back.");
        }

        int page = Environment.SystemPageSize;
        using var buffer = new AlignedBuffer<byte>(8 << 20);
        var all = new Span<byte>(buffer.Pointer, 8 * page);
        all.Fill(7);
        HugePages.GiveBack(buffer.Pointer + (2 * page) + begin, (nuint)((4 * page) + end - begin));
        int first = begin > 0 ? 3 * page : 2 * page;
        int last = end < 0 ? 5 * page : 6 * page;
        Assert.That(all[..first].IndexOfAnyExcept((byte)7), Is.Negative);
        Assert.That(all[first..last].IndexOfAnyExcept((byte)0), Is.Negative);
        Assert.That(all[last..].IndexOfAnyExcept((byte)7), Is.Negative);
    }

    /// <summary>What macOS is given back by, whose flags only have other numbers.</summary>
    [Test]
    [Platform("Linux")]
    public void Pages_that_are_mapped_anew_are_empty_and_those_beside_them_as_they_were()
    {
        const int PrivateFixedAnonymous = 0x32;
        int page = Environment.SystemPageSize;
        using var buffer = new AlignedBuffer<byte>(8 << 20);
        var all = new Span<byte>(buffer.Pointer, 8 * page);
        all.Fill(7);
        HugePages.MapAnew(buffer.Pointer + (2 * page), (nuint)(4 * page), PrivateFixedAnonymous);
        Assert.That(all[(2 * page)..(6 * page)].IndexOfAnyExcept((byte)0), Is.Negative);
        Assert.That(all[..(2 * page)].IndexOfAnyExcept((byte)7), Is.Negative);
        Assert.That(all[(6 * page)..].IndexOfAnyExcept((byte)7), Is.Negative);
        all.Fill(9);
        Assert.That(all.IndexOfAnyExcept((byte)9), Is.Negative);
    }
}
