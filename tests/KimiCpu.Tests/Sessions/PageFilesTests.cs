// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Versioning;
using KimiCpu.Sessions;
using KimiCpu.Tests.Server;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu.Tests.Sessions;

/// <summary>The folder of pages: what it keeps, what it gives up, and what it does not believe.</summary>
[TestFixture]
internal sealed class PageFilesTests
{
    private const int PageBytes = 5000;

    /// <summary>Whole blocks of 4,096 bytes.</summary>
    private const int FileBytes = 8192;

    private static readonly byte[] s_root = Key(200);

    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void A_page_is_read_as_it_was_written_by_the_next_owner_too()
    {
        using (PageFiles files = Open())
        {
            Write(files, 1);
            Read(files, 1);
        }

        using PageFiles next = Open();
        Assert.That(next.Size, Is.EqualTo((1, (long)FileBytes)));
        Read(next, 1);
        Assert.That(next.TryRead(Key(2), new byte[PageBytes]), Is.False);
    }

    [Test]
    public void A_damaged_file_is_not_believed_wherever_it_is_damaged([Values(0, 7, 8, 39, 40, 2000, 5039, 5040, 5047)] int position)
    {
        var log = new LogLines();
        using var factory = new LoggerFactory([log]);
        using PageFiles files = Open(logger: factory.CreateLogger("test"));
        Write(files, 1);
        Change(PageOf(files), bytes => bytes[position] ^= 1);
        Dropped(files, log);
    }

    [Test]
    public void A_file_that_was_cut_or_added_to_is_not_believed([Values(0, 20, 3000, 5047, 5049)] int length)
    {
        var log = new LogLines();
        using var factory = new LoggerFactory([log]);
        using PageFiles files = Open(logger: factory.CreateLogger("test"));
        Write(files, 1);
        string path = PageOf(files);
        byte[] bytes = File.ReadAllBytes(path);
        Array.Resize(ref bytes, length);
        File.WriteAllBytes(path, bytes);
        Dropped(files, log);
    }

    [Test]
    public void A_file_in_the_place_of_another_one_is_not_believed()
    {
        using (PageFiles files = Open())
        {
            Write(files, 1);
            File.Move(PageOf(files), Path.Combine(_folder, $"{Convert.ToHexStringLower(Key(2))}-0.kvpage"));
        }

        using PageFiles next = Open();
        Assert.That(next.TryRead(Key(2), new byte[PageBytes]), Is.False);
        Assert.That(next.Size.Count, Is.Zero);
    }

    [Test]
    public void The_least_recently_used_go_first()
    {
        using PageFiles files = Open(limit: 3 * FileBytes);
        for (int page = 1; page <= 3; page++)
        {
            Write(files, page);
            Thread.Sleep(1);
        }

        files.Touch([Key(1)]);
        Write(files, 4);
        Assert.That(Kept(files, 4), Is.EqualTo(new[] { 1, 3, 4 }));
        Assert.That(files.Size, Is.EqualTo((3, 3L * FileBytes)));
        Assert.That(Directory.GetFiles(_folder, "*.kvpage"), Has.Length.EqualTo(3));
    }

    [Test]
    public void Of_one_text_the_last_pages_go_first()
    {
        using PageFiles files = Open(limit: 4 * FileBytes);
        Write(files, 1);
        files.Write(Key(2), Key(1), 1, Page(2));
        files.Write(Key(3), Key(2), 2, Page(3));
        Thread.Sleep(1);
        Write(files, 4);
        Write(files, 5);
        Assert.That(Kept(files, 5), Is.EqualTo(new[] { 1, 2, 4, 5 }));
    }

    [Test]
    public void The_next_owner_knows_what_was_used_and_keeps_to_its_own_limit()
    {
        using (PageFiles files = Open())
        {
            for (int page = 1; page <= 3; page++)
            {
                Write(files, page);
                Thread.Sleep(1);
            }

            files.Touch([Key(1)]);
        }

        using PageFiles next = Open(limit: 2 * FileBytes);
        Assert.That(Kept(next, 3), Is.EqualTo(new[] { 1, 3 }));
    }

    [Test]
    public void A_folder_has_one_owner_at_a_time()
    {
        var log = new LogLines();
        using var factory = new LoggerFactory([log]);
        using (Open())
        {
            Assert.That(PageFiles.Open(_folder, 1 << 20, factory.CreateLogger("test")), Is.Null);
            Assert.That(log.Lines.Single(), Does.Contain(_folder).And.Contain("in use by another process or model"));
        }

        using PageFiles next = Open();
        Assert.That(next.TakesMore);
    }

    [Test]
    public void A_full_drive_ends_the_writing_with_one_warning_and_not_the_reading()
    {
        var log = new LogLines();
        using var factory = new LoggerFactory([log]);
        bool isFull = false;
        using PageFiles files = PageFiles.Open(_folder, 1 << 20, factory.CreateLogger("test"), (path, options) =>
            isFull && options.Access == FileAccess.Write ? new FullStream(path) : new FileStream(path, options))!;
        Write(files, 1);
        isFull = true;
        Write(files, 2);
        Assert.That(files.TakesMore, Is.False);
        isFull = false;
        Write(files, 3);
        Assert.That(log.Lines.Single(), Does.Contain("No space left on device").And.Contain("takes in nothing more"));
        Assert.That(Kept(files, 3), Is.EqualTo(new[] { 1 }));
        Read(files, 1);
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(2), "the page and the lock");
    }

    [Test]
    public void Only_files_of_pages_are_touched()
    {
        string key = Convert.ToHexStringLower(Key(171));
        string[] others = ["notes.txt", "x.kvpage", $"{key}.kvpage", $"{key}-x.kvpage", $"{key.ToUpperInvariant()}-0.kvpage"];
        Array.ForEach(others, o => File.WriteAllText(Path.Combine(_folder, o), new string('x', 10_000)));
        File.WriteAllText(Path.Combine(_folder, $"{key}-0.kvpage.unfinished"), "of a process that was killed");
        using PageFiles files = Open(limit: FileBytes);
        Write(files, 2);
        Assert.That(Kept(files, 2), Is.EqualTo(new[] { 2 }));
        Assert.That(Directory.GetFiles(_folder).Select(Path.GetFileName), Is.SupersetOf(others));
        Assert.That(Directory.GetFiles(_folder, "*.unfinished"), Is.Empty);
    }

    [Test]
    public void A_folder_that_cannot_be_made_is_said_when_it_is_opened()
    {
        string file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        Assert.That(() => PageFiles.Open(Path.Combine(file, "cache"), 1 << 20, NullLogger.Instance), Throws.TypeOf<KimiException>().With.Message.Contains("PromptCacheDirectory").And.Message.Contains(file));
    }

    [Test]
    [UnsupportedOSPlatform("windows")]
    public void Nobody_but_the_user_may_read_it()
    {
        string folder = Path.Combine(_folder, "a", "b");
        using PageFiles files = PageFiles.Open(folder, 1 << 20, NullLogger.Instance)!;
        Write(files, 1);
        Assert.That(File.GetUnixFileMode(folder), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute));
        Assert.That(Directory.GetFiles(folder).Select(File.GetUnixFileMode), Is.All.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
    }

    private static byte[] Key(int page) => [.. Enumerable.Repeat((byte)page, 32)];

    private static byte[] Page(int page)
    {
        var bytes = new byte[PageBytes];
        new Random(page).NextBytes(bytes);
        return bytes;
    }

    private static void Write(PageFiles files, int page) => files.Write(Key(page), s_root, 0, Page(page));

    private static void Read(PageFiles files, int page)
    {
        var bytes = new byte[PageBytes];
        Assert.That(files.TryRead(Key(page), bytes));
        Assert.That(bytes, Is.EqualTo(Page(page)));
    }

    private static int[] Kept(PageFiles files, int pages) => [.. Enumerable.Range(1, pages).Where(p => files.Contains(Key(p)))];

    private static void Change(string path, Action<byte[]> change)
    {
        byte[] bytes = File.ReadAllBytes(path);
        change(bytes);
        File.WriteAllBytes(path, bytes);
    }

    private PageFiles Open(long limit = 1 << 20, ILogger? logger = null) => PageFiles.Open(_folder, limit, logger ?? NullLogger.Instance)!;

    private string PageOf(PageFiles files)
    {
        Assert.That(files.Size.Count, Is.EqualTo(1));
        return Directory.GetFiles(_folder, "*.kvpage").Single();
    }

    private void Dropped(PageFiles files, LogLines log)
    {
        Assert.That(files.TryRead(Key(1), new byte[PageBytes]), Is.False);
        Assert.That(files.TryRead(Key(1), new byte[PageBytes]), Is.False);
        Assert.That(log.Lines.Single(), Does.Contain(".kvpage").And.Contain("computed again"));
        Assert.That(files.Size, Is.EqualTo((0, 0L)));
        Assert.That(Directory.GetFiles(_folder, "*.kvpage"), Is.Empty);
        Write(files, 1);
        Read(files, 1);
    }

    private sealed class FullStream : MemoryStream
    {
        public FullStream(string path) => File.WriteAllText(path, "what there was room for");

        public override void Write(ReadOnlySpan<byte> buffer) => throw new IOException("No space left on device");
    }
}
