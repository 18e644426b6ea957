// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Bench;

namespace KimiCpu.Tests.Cli.Bench;

[TestFixture]
internal sealed class UnfinishedFolderTests
{
    private string _parent = "";

    private string Place => Path.Combine(_parent, "synthetic-1");

    [SetUp]
    public void CreateFolder() => _parent = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_parent, recursive: true);

    [Test]
    public void It_is_moved_when_it_is_whole([Values] bool isWhole)
    {
        using (var folder = new UnfinishedFolder(Place))
        {
            File.WriteAllText(Path.Combine(folder.Path, "a"), "b");
            Assert.That(Place, Does.Not.Exist);
            if (isWhole)
            {
                folder.Finish();
            }
        }

        string[] left = [.. Directory.GetFileSystemEntries(_parent, "*", SearchOption.AllDirectories).Order()];
        Assert.That(left, Is.EqualTo(isWhole ? new[] { Place, Path.Combine(Place, "a") } : []));
    }

    /// <summary>Both have the same in them, written for minutes.</summary>
    [Test]
    public void Of_two_that_are_written_at_once_the_first_one_stays()
    {
        using (var second = new UnfinishedFolder(Place))
        {
            File.WriteAllText(Path.Combine(second.Path, "second"), "");
            using (var first = new UnfinishedFolder(Place))
            {
                File.WriteAllText(Path.Combine(first.Path, "first"), "");
                first.Finish();
            }

            second.Finish();
        }

        Assert.That(Directory.GetFileSystemEntries(_parent, "*", SearchOption.AllDirectories).Order(), Is.EqualTo(new[] { Place, Path.Combine(Place, "first") }));
    }

    /// <summary>After a power cut empty files in its place would be taken for a checkpoint for ever. One that another has opened for itself alone cannot be brought to the drive.</summary>
    [Test]
    public void It_is_moved_after_all_of_it_has_reached_the_drive()
    {
        using var folder = new UnfinishedFolder(Place);
        File.WriteAllText(Path.Combine(folder.Path, "a"), "b");
        using (new FileStream(Path.Combine(folder.Path, "b"), FileMode.CreateNew, FileAccess.Write, FileShare.None))
        {
            Assert.That(folder.Finish, Throws.InstanceOf<IOException>());
            Assert.That(Place, Does.Not.Exist);
        }

        folder.Finish();
        Assert.That(Directory.GetFiles(Place).Select(Path.GetFileName), Is.EquivalentTo(new[] { "a", "b" }));
    }

    /// <summary>Of a process that was killed, which may be 23 GB.</summary>
    [Test]
    public void What_nobody_writes_any_more_is_deleted()
    {
        string other = Path.Combine(_parent, "synthetic-2");
        string abandoned = Make($"{other}.{Guid.NewGuid():N}.unfinished", TimeSpan.FromMinutes(2));
        File.WriteAllText(Path.Combine(abandoned, "held"), "");
        Directory.SetLastWriteTimeUtc(abandoned, DateTime.UtcNow.AddMinutes(-2));
        string killedAtOnce = Make($"{other}.{Guid.NewGuid():N}.unfinished", TimeSpan.FromMinutes(2));
        string fresh = Make($"{other}.{Guid.NewGuid():N}.unfinished", TimeSpan.Zero);
        string foreign = Make($"{other}.unfinished", TimeSpan.FromMinutes(2));
        using var running = new UnfinishedFolder(other);
        Directory.SetLastWriteTimeUtc(running.Path, DateTime.UtcNow.AddMinutes(-2));
        using var mine = new UnfinishedFolder(Place);
        Assert.That(Directory.GetDirectories(_parent), Is.EquivalentTo(new[] { fresh, foreign, running.Path, mine.Path }));
    }

    private static string Make(string folder, TimeSpan age)
    {
        Directory.CreateDirectory(folder);
        Directory.SetLastWriteTimeUtc(folder, DateTime.UtcNow - age);
        return folder;
    }
}
