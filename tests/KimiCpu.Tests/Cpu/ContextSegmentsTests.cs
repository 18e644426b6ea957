// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class ContextSegmentsTests
{
    [TestCase(1, 1)]
    [TestCase(128, 1)]
    [TestCase(129, 2)]
    [TestCase(2048, 16)]
    [TestCase(2049, 17)]
    [TestCase(2304, 17)]
    [TestCase(2305, 18)]
    [TestCase(8192, 40)]
    [TestCase(8193, 41)]
    [TestCase(8704, 41)]
    [TestCase(8705, 42)]
    [TestCase(262_144, 536)]
    public void A_context_has_short_segments_at_its_beginning_and_longer_ones_behind(int tokens, int expected) =>
        Assert.That(ContextSegments.Count(tokens), Is.EqualTo(expected));

    [Test]
    public void Segments_that_are_added_first_have_512_tokens()
    {
        int units = 0;
        for (int segment = 0; segment < 60; segment += ContextSegments.Together(segment), units++)
        {
            Assert.That(ContextSegments.Begin(segment), Is.EqualTo(512 * units));
            Assert.That(Enumerable.Range(segment, ContextSegments.Together(segment)).Select(ContextSegments.Together), Is.All.EqualTo(ContextSegments.Together(segment)));
        }
    }

    /// <summary>Each token is in one segment, which begins with a page and does not depend on how long the context is.</summary>
    [Test]
    public void Segments_follow_each_other_from_page_to_page()
    {
        Assert.That(ContextSegments.Begin(0), Is.Zero);
        for (int segment = 0; segment < 60; segment++)
        {
            int begin = ContextSegments.Begin(segment), end = ContextSegments.Begin(segment + 1);
            Assert.That(begin % KvPage.Tokens, Is.Zero);
            Assert.That(end, Is.GreaterThan(begin));
            Assert.That(Enumerable.Range(begin + 1, end - begin).Select(ContextSegments.Count), Is.All.EqualTo(segment + 1));
        }
    }
}
