// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu;

/// <summary>The cache's memory at the size of a workstation's. What the process has mapped is looked at, so nothing may run beside it.</summary>
[TestFixture]
[NonParallelizable]
internal sealed class KvPagesTests
{
    /// <summary>A mapping for each page and one between each two would reach the system's limit at a quarter of such a machine's cache.</summary>
    [Test]
    [Platform("Linux")]
    [CancelAfter(60_000)]
    public void A_thousand_pages_are_few_mappings_and_no_memory_until_they_are_written()
    {
        using var pages = new KvPages(Shapes.Small() with { LayerCount = 61, KeyValueLoraRank = 512, RopeHeadSize = 64 }, bfloat16: true);
        Assert.That(pages.BytesPerPage, Is.EqualTo(4_497_408), "Kimi K2's");
        (int mappings, long resident) = (Mappings(), ResidentBytes());
        pages.Reserve(1000);
        Assert.That(Mappings() - mappings, Is.LessThan(100));
        Assert.That(ResidentBytes() - resident, Is.LessThan(200L << 20));
    }

    [Test]
    public unsafe void Pages_lie_apart_and_stay_where_they_are_when_there_are_more()
    {
        const int First = 40, All = 100;
        using var pages = new KvPages(Shapes.Small(), bfloat16: false);
        pages.Reserve(First);
        long[] before = Places(First);
        var values = new float[pages.SlotBytes / sizeof(float)];
        for (int page = 0; page < First; page++)
        {
            Array.Fill(values, page);
            pages.Write(page, 1, KvPage.Tokens - 1, values);
        }

        pages.Reserve(All);
        Assert.That(Places(First), Is.EqualTo(before));
        long[] sorted = [.. Places(All).Order()];
        Assert.That(sorted.Skip(1).Zip(sorted, (next, page) => next - page), Is.All.GreaterThanOrEqualTo(pages.BytesPerPage));
        pages.Copy(First - 1, All - 1);
        for (int page = 0; page < First; page++)
        {
            Assert.That(Last(page), Is.EqualTo(page));
        }

        Assert.That(Last(All - 1), Is.EqualTo(First - 1));

        long[] Places(int count) => [.. Enumerable.Range(0, count).Select(p => (long)pages.Slots(p, 0))];

        float Last(int page) => *(float*)(pages.Slots(page, 1) + ((long)(KvPage.Tokens - 1) * pages.SlotBytes));
    }

    private static int Mappings() => File.ReadLines("/proc/self/maps").Count();

    private static long ResidentBytes()
    {
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("RssAnon:", StringComparison.Ordinal));
        return long.Parse(line["RssAnon:".Length..].Trim().Split(' ')[0], CultureInfo.InvariantCulture) * 1024;
    }
}
