// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

/// <summary>All of what comes next is asked for by the tiles there are, with few lines at a time where that is enough.</summary>
[TestFixture]
internal sealed unsafe class TileAheadTests
{
    private const int Groups = 64;

    /// <summary>Eight cache lines a group: a block of 32 rows of INT4.</summary>
    private const long Bytes = Groups * 8L * TileAhead.LineBytes;

    [TestCase(1, TileAhead.ManyLines, 1)]
    [TestCase(3, TileAhead.ManyLines, 1)]
    [TestCase(4, TileAhead.FewLines, 4)]
    [TestCase(19, TileAhead.FewLines, 4)]
    public void Few_lines_are_asked_for_where_they_suffice(int tiles, int lines, int askingTiles)
    {
        byte* begin = (byte*)4096;
        var ahead = new TileAhead(begin, Bytes, Groups, tiles);
        Assert.That(ahead.Lines, Is.EqualTo(lines));
        for (int tile = 0; tile < tiles; tile++)
        {
            byte* expected = tile < askingTiles ? begin + (tile * (long)lines * TileAhead.LineBytes * Groups) : null;
            Assert.That((long)ahead.Next, Is.EqualTo((long)expected), $"tile {tile}");
            ahead.MoveOn();
        }

        Assert.That((long)ahead.Next, Is.Zero);
        Assert.That(ahead.Asked, Is.EqualTo(Bytes));
    }

    [Test]
    public void What_tiles_cannot_ask_for_is_told()
    {
        var ahead = new TileAhead((byte*)4096, 2 * Bytes, Groups, 1);
        ahead.MoveOn();
        Assert.That(ahead.Asked, Is.EqualTo(Bytes));
    }

    [Test]
    public void Nothing_is_asked_for_where_nothing_comes()
    {
        var ahead = new TileAhead(null, Bytes, Groups, 4);
        ahead.MoveOn();
        Assert.That((long)ahead.Next, Is.Zero);
        Assert.That(ahead.Asked, Is.Zero);
    }
}
