// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore;

[TestFixture]
internal sealed class ExpertStatisticsTests
{
    private const int Keys = 50;

    private string _folder = null!;

    private string FilePath => Path.Combine(_folder, "some", "model.uses");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void A_restart_knows_the_hottest_experts()
    {
        UseCounts counts = Used();
        Assert.That(new ExpertStatistics(FilePath, 7).Save(counts), Is.Null);
        var later = new UseCounts(Keys, 100);
        Assert.That(new ExpertStatistics(FilePath, 7).Load(later), Is.Null);
        Assert.That(ExpertStatistics.Hottest(later, 3), Is.EqualTo(new[] { 9, 4, 2 }));
        Assert.That(ExpertStatistics.Hottest(later, Keys), Has.Count.EqualTo(4), "Those without a use are left out.");
        Assert.That(later.Most, Is.EqualTo(counts.Most));
        Assert.That(Directory.GetFiles(Path.GetDirectoryName(FilePath)!), Has.Length.EqualTo(1), "Nothing is left beside it.");
    }

    [Test]
    public void Foreign_files_are_ignored_with_a_reason()
    {
        new ExpertStatistics(FilePath, 7).Save(Used());
        var counts = new UseCounts(Keys, 100);
        Assert.That(new ExpertStatistics(FilePath, 8).Load(counts), Does.Contain("another model"));
        Assert.That(new ExpertStatistics(FilePath, 7).Load(new UseCounts(Keys + 1, 100)), Does.Contain("bytes"));
        Assert.That(new ExpertStatistics(FilePath + "x", 7).Load(counts), Does.Contain("no counts of earlier runs"));
        Assert.That(new ExpertStatistics(_folder, 7).Load(counts), Does.Contain("ignored").And.Match(@"[^.]\.$"));
        Assert.That(new ExpertStatistics(_folder, 7).Save(counts), Does.Contain("could not be written"));
        Assert.That(ExpertStatistics.Hottest(counts, Keys), Is.Empty);
    }

    /// <summary>No byte can be changed, and no end cut off, without it being noticed.</summary>
    [Test]
    public void Damaged_files_are_ignored()
    {
        var statistics = new ExpertStatistics(FilePath, 7);
        statistics.Save(Used());
        byte[] sound = File.ReadAllBytes(FilePath);
        for (int at = 0; at < sound.Length; at++)
        {
            byte[] damaged = [.. sound];
            damaged[at] ^= 0x10;
            File.WriteAllBytes(FilePath, damaged);
            var counts = new UseCounts(Keys, 100);
            Assert.That(statistics.Load(counts), Does.Contain("ignored"), $"byte {at}");
            Assert.That(ExpertStatistics.Hottest(counts, Keys), Is.Empty);
        }

        foreach (int length in new[] { 0, 1, 20, sound.Length - 1 })
        {
            File.WriteAllBytes(FilePath, sound[..length]);
            Assert.That(statistics.Load(new UseCounts(Keys, 100)), Does.Contain("ignored"));
        }
    }

    private static UseCounts Used()
    {
        var counts = new UseCounts(Keys, 100);
        foreach (int key in new[] { 9, 9, 9, 4, 4, 4, 7, 2, 2, 9 })
        {
            counts.BeginStep();
            counts.Use(key);
        }

        return counts;
    }
}
