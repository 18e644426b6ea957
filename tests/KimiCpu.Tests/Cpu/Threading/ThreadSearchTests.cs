// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Threading;

[TestFixture]
internal sealed class ThreadSearchTests
{
    private string _folder = null!;

    private string FilePath => Path.Combine(_folder, "some", "threads.json");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    /// <summary>Time falls to <paramref name="best"/> threads and rises behind it.</summary>
    [TestCase(16, 1, 16, 16)]
    [TestCase(16, 1, 12, 12)]
    [TestCase(16, 1, 6, 6)]
    [TestCase(16, 1, 1, 1)]
    [TestCase(12, 1, 5, 5)]
    [TestCase(3, 1, 2, 2)]
    [TestCase(2, 1, 1, 1)]
    [TestCase(2, 1, 2, 2)]
    [TestCase(1, 1, 1, 1)]
    [TestCase(96, 1, 40, 40)]
    [TestCase(64, 2, 24, 24)]
    [TestCase(64, 2, 25, 24)]
    [TestCase(8, 4, 1, 4)]
    [TestCase(7, 2, 3, 3)]
    public void Fastest_count_is_found(int most, int nodes, int best, int expected)
    {
        var tried = new List<int>();
        ThreadChoice choice = ThreadSearch.Find(most, nodes, threads =>
        {
            tried.Add(threads);
            return threads <= best ? 1.0 / threads : (1.0 / best) + (0.03 * (threads - best));
        });
        Assert.That(choice.Threads, Is.EqualTo(expected));
        Assert.That(tried, Is.Unique.And.All.InRange(1, most));
        Assert.That(tried, Has.Count.LessThanOrEqualTo(16));
        Assert.That(choice.Timings.Select(t => t.Threads), Is.EqualTo(tried.Order()));
        Assert.That(nodes == 1 || most % nodes != 0 || tried.All(t => t % nodes == 0));
        Assert.That(tried, most == 1 ? Is.Empty : Has.Member(most));
    }

    [Test]
    public void Fewer_threads_are_preferred_where_more_gain_nothing()
    {
        Assert.That(ThreadSearch.Find(8, 1, threads => threads >= 4 ? 1 - (threads * 0.0001) : 2).Threads, Is.EqualTo(4));
        Assert.That(ThreadSearch.Find(2, 1, threads => threads == 2 ? 1 : 1.03).Threads, Is.EqualTo(2));
        Assert.That(ThreadSearch.Find(2, 1, threads => threads == 2 ? 1 : 1.01).Threads, Is.EqualTo(1));
    }

    [Test]
    public void Out_of_time_the_best_so_far_is_chosen()
    {
        int left = 2;
        ThreadChoice choice = ThreadSearch.Find(16, 1, threads => left-- > 0 ? threads : null);
        Assert.That((choice.Threads, choice.Timings.Count), Is.EqualTo((8, 2)));
        ThreadChoice none = ThreadSearch.Find(16, 1, _ => null);
        Assert.That((none.Threads, none.Timings.Count), Is.EqualTo((16, 0)));
    }

    [Test]
    public void Choices_are_remembered_under_their_keys()
    {
        var file = new ThreadChoiceFile(FilePath);
        Assert.That(file.Find("a", 8), Is.Null);
        Assert.That(file.TryRemember("a", new ThreadChoice(6, [new ThreadTiming(6, 0.5), new ThreadTiming(8, 0.6)])));
        Assert.That(file.TryRemember("b", new ThreadChoice(2, [])));
        Assert.That(file.TryRemember("b", new ThreadChoice(3, [])));
        var again = new ThreadChoiceFile(FilePath);
        Assert.That((again.Find("a", 8), again.Find("b", 8), again.Find("c", 8)), Is.EqualTo(((int?)6, (int?)3, (int?)null)));
        Assert.That(again.Find("a", 5), Is.Null, "more threads than there are");
        Assert.That(Directory.GetFiles(Path.GetDirectoryName(FilePath)!), Has.Length.EqualTo(1));
    }

    [Test]
    public void Old_choices_make_room()
    {
        var file = new ThreadChoiceFile(FilePath);
        for (int i = 0; i < 105; i++)
        {
            Assert.That(file.TryRemember($"{i}", new ThreadChoice(2, [])));
        }

        Assert.That((file.Find("4", 8), file.Find("5", 8), file.Find("104", 8)), Is.EqualTo(((int?)null, (int?)2, (int?)2)));
    }

    [TestCase("")]
    [TestCase("{")]
    [TestCase("[]")]
    [TestCase("null")]
    [TestCase("""{"version":2,"choices":{"a":{"threads":2}}}""")]
    [TestCase("""{"version":"1","choices":{"a":{"threads":2}}}""")]
    [TestCase("""{"version":1,"choices":[]}""")]
    [TestCase("""{"version":1,"choices":{"a":2}}""")]
    [TestCase("""{"version":1,"choices":{"a":{"threads":"many"}}}""")]
    [TestCase("""{"version":1,"choices":{"a":{"threads":0}}}""")]
    [TestCase("""{"version":1,"choices":{"a":{"threads":2},"a":{"threads":3}}}""")]
    public void Damaged_file_knows_nothing_and_is_replaced(string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(FilePath)!);
        File.WriteAllText(FilePath, text);
        var file = new ThreadChoiceFile(FilePath);
        Assert.That(file.Find("a", 8), Is.Null);
        Assert.That(file.TryRemember("a", new ThreadChoice(4, [])));
        Assert.That(file.Find("a", 8), Is.EqualTo(4));
    }

    [Test]
    public void Place_that_cannot_be_written_is_no_error()
    {
        File.WriteAllText(Path.Combine(_folder, "some"), "a file where a folder should be");
        var file = new ThreadChoiceFile(FilePath);
        Assert.That(file.Find("a", 8), Is.Null);
        Assert.That(file.TryRemember("a", new ThreadChoice(4, [])), Is.False);
        Directory.CreateDirectory(Path.Combine(_folder, "taken.json"));
        Assert.That(new ThreadChoiceFile(Path.Combine(_folder, "taken.json")).TryRemember("a", new ThreadChoice(4, [])), Is.False);
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
    }
}
