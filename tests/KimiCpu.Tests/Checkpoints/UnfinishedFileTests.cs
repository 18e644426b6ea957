// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.Versioning;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>Files that are written beside their place.</summary>
[TestFixture]
internal sealed class UnfinishedFileTests
{
    private string _folder = "";

    private string FilePath => Path.Combine(_folder, "a[1].bin");

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void What_is_not_finished_leaves_the_file_as_it_was()
    {
        Write(FilePath, [1]);
        using (var file = new UnfinishedFile(FilePath))
        {
            file.Stream.WriteByte(2);
            Assert.That(File.ReadAllBytes(FilePath), Is.EqualTo(new byte[] { 1 }));
        }

        Assert.That(File.ReadAllBytes(FilePath), Is.EqualTo(new byte[] { 1 }));
        Write(FilePath, [3, 4]);
        Assert.That(File.ReadAllBytes(FilePath), Is.EqualTo(new byte[] { 3, 4 }));
        Assert.That(Directory.GetFiles(_folder), Is.EqualTo(new[] { FilePath }));
    }

    [Test]
    public void What_is_left_of_a_killed_process_goes_and_what_is_being_written_and_what_is_anothers_stays()
    {
        string abandoned = Beside(FilePath);
        Abandon(abandoned);
        string[] others =
        [
            Beside(FilePath + "x"),
            Beside(Path.Combine(_folder, "b.bin")),
            FilePath + ".unfinished",
            FilePath + ".0123.unfinished",
            $"{FilePath}.{Guid.NewGuid():N}",
            $"{FilePath}.{new string('x', 32)}.unfinished",
        ];
        Array.ForEach(others, Abandon);
        using var running = new UnfinishedFile(FilePath);
        Assert.That(abandoned, Does.Not.Exist);
        running.Stream.WriteByte(1);
        File.SetLastWriteTimeUtc(running.Stream.SafeFileHandle, DateTime.UtcNow.AddHours(-1));
        Write(FilePath, [2]);
        Assert.That(others, Is.All.Exist);

        // The other one comes to its end as if nothing had been.
        running.Finish();
        Assert.That(File.ReadAllBytes(FilePath), Is.EqualTo(new byte[] { 1 }));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(others.Length + 1));
    }

    [Test]
    [CancelAfter(60_000)]
    public void Many_that_write_to_one_place_leave_each_other_alone(CancellationToken cancellationToken)
    {
        Parallel.For(0, 200, new ParallelOptions { MaxDegreeOfParallelism = 4, CancellationToken = cancellationToken }, i => Write(FilePath, [(byte)i]));
        Assert.That(new FileInfo(FilePath).Length, Is.EqualTo(1));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
    }

    /// <summary>As by a virus scanner.</summary>
    [Test]
    [Platform("Win", Reason = "Others replace files that are open.")]
    public void A_file_that_is_open_for_a_moment_is_replaced_once_it_is_closed()
    {
        Write(FilePath, [1]);
        var reader = new FileStream(FilePath, FileMode.Open, FileAccess.Read, FileShare.Read);
        var closing = new Thread(() =>
        {
            Thread.Sleep(100);
            reader.Dispose();
        });
        closing.Start();
        Write(FilePath, [2]);
        closing.Join();
        Assert.That(File.ReadAllBytes(FilePath), Is.EqualTo(new byte[] { 2 }));
    }

    /// <summary>Made and not yet locked, or about to be moved.</summary>
    [Test]
    public void One_that_was_written_a_moment_ago_stays()
    {
        string made = Beside(FilePath);
        File.WriteAllText(made, "whole");
        Write(FilePath, [1]);
        Assert.That(made, Does.Exist);
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Links need rights there.")]
    public void Links_stay_and_what_they_lead_to_is_written([Values] bool exists)
    {
        string drive = Directory.CreateDirectory(Path.Combine(_folder, "drive")).FullName;
        string target = Path.Combine(drive, "target.bin");
        if (exists)
        {
            Write(target, [1]);
        }

        string between = Path.Combine(_folder, "between");
        File.CreateSymbolicLink(between, Path.Combine("drive", "target.bin"));
        File.CreateSymbolicLink(FilePath, between);
        Write(FilePath, [2]);
        Assert.That(File.ReadAllBytes(target), Is.EqualTo(new byte[] { 2 }));
        Assert.That(new FileInfo(FilePath).LinkTarget, Is.EqualTo(between));
        Assert.That(new FileInfo(between).LinkTarget, Is.Not.Null);
        Assert.That(Directory.GetFiles(drive), Is.EqualTo(new[] { target }));
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Links need rights there.")]
    public void A_link_to_itself_is_replaced()
    {
        File.CreateSymbolicLink(FilePath, FilePath);
        Write(FilePath, [1]);
        Assert.That(File.ReadAllBytes(FilePath), Is.EqualTo(new byte[] { 1 }));
    }

    [Test]
    public void A_folder_that_is_not_there_is_named()
    {
        string folder = Path.Combine(_folder, "none");
        Assert.That(() => new UnfinishedFile(Path.Combine(folder, "a.bin")), Throws.TypeOf<DirectoryNotFoundException>().With.Message.Contains($"the folder '{folder}' does not exist").And.Message.Not.Contains(".unfinished"));
    }

    /// <summary>It may well be there.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "Rights are others there.")]
    [UnsupportedOSPlatform("windows")]
    public void A_folder_that_may_not_be_looked_into_is_not_called_missing()
    {
        File.SetUnixFileMode(_folder, Unprivileged.Everybody);
        string closed = Path.Combine(_folder, "closed");
        Directory.CreateDirectory(Path.Combine(closed, "inner"));
        File.SetUnixFileMode(closed, UnixFileMode.None);
        try
        {
            Unprivileged.Run(closed, () => Assert.That(() => new UnfinishedFile(Path.Combine(closed, "inner", "a.bin")), Throws.TypeOf<UnauthorizedAccessException>()));
        }
        finally
        {
            File.SetUnixFileMode(closed, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>A drive that fails does not let the file be deleted either.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "A file that is open cannot be replaced there.")]
    public void What_made_a_file_fail_is_told_and_not_that_it_could_not_be_deleted()
    {
        Assert.That(Fail, Throws.TypeOf<IOException>().With.Message.EqualTo("the drive is gone"));

        void Fail()
        {
            using var file = new UnfinishedFile(FilePath);
            string beside = Directory.GetFiles(_folder).Single();
            File.Delete(beside);
            Directory.CreateDirectory(beside);
            throw new IOException("the drive is gone");
        }
    }

    [Test]
    [Platform("Linux", Reason = "Pipes have names there.")]
    [CancelAfter(60_000)]
    public async Task A_pipe_stays_a_pipe_and_its_reader_gets_the_bytes([Values] bool link, CancellationToken cancellationToken)
    {
        using (Process make = Process.Start("mkfifo", [FilePath]))
        {
            await make.WaitForExitAsync(cancellationToken);
        }

        string path = FilePath;
        if (link)
        {
            path = Path.Combine(_folder, "link");
            File.CreateSymbolicLink(path, FilePath);
        }

        Task<byte[]> read = Task.Run(() => File.ReadAllBytes(FilePath), cancellationToken);
        await Task.Run(() => Write(path, [1, 2, 3]), CancellationToken.None).WaitAsync(cancellationToken);
        Assert.That(FileKind.IsFixed(FilePath));
        Assert.That(await read.WaitAsync(cancellationToken), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Assert.That(() => new UnfinishedFile(path, ownersOnly: true), Throws.TypeOf<IOException>().With.Message.Contains("a pipe"));
        Assert.That(Directory.GetFileSystemEntries(_folder), Has.Length.EqualTo(link ? 2 : 1));
    }

    [Test]
    public void A_file_is_the_same_by_each_of_its_names_and_no_other()
    {
        Write(FilePath, [1]);
        string other = Path.Combine(_folder, "other");
        File.Copy(FilePath, other);
        Assert.That(FileKind.AreSame(FilePath, Path.Combine(_folder, ".", Path.GetFileName(FilePath))));
        Assert.That(new[] { other, _folder, Path.Combine(_folder, "none") }.Where(p => FileKind.AreSame(FilePath, p) || FileKind.AreSame(p, FilePath)), Is.Empty);
        if (OperatingSystem.IsLinux())
        {
            Assert.That(FileKind.AreSame("/dev/null", "/dev/zero"), Is.False);
            Assert.That(FileKind.AreSame(FilePath, $"/proc/self/root{FilePath}"), "a folder of another name");
        }
    }

    [Test]
    public void Files_folders_and_what_is_not_there_are_no_devices()
    {
        Write(FilePath, [1]);
        Assert.That(new[] { FilePath, _folder, Path.Combine(_folder, "none") }.Where(FileKind.IsFixed), Is.Empty);
        if (OperatingSystem.IsLinux())
        {
            Assert.That(FileKind.IsFixed("/dev/null"));
            Assert.That(FileKind.MayWrite("/dev/null"));
        }
    }

    private static string Beside(string path) => $"{path}.{Guid.NewGuid():N}.unfinished";

    private static void Abandon(string path)
    {
        File.WriteAllText(path, "half");
        File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddHours(-1));
    }

    private static void Write(string path, byte[] bytes)
    {
        using var file = new UnfinishedFile(path);
        file.Stream.Write(bytes);
        file.Finish();
    }
}
