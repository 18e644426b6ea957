// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;
using KimiCpu.Cpu;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>Reads past the page cache: the bytes of the file, to its ragged end, and notice of every change.</summary>
[TestFixture]
internal sealed unsafe partial class DirectFileTests
{
    private string _path = "";

    [SetUp]
    public void MakeFile() => _path = Path.Combine(RealPath.Of(Directory.CreateTempSubdirectory("kimicpu").FullName), "file");

    [TearDown]
    public void DeleteFile() => Directory.Delete(Path.GetDirectoryName(_path)!, recursive: true);

    [TestCase(1)]
    [TestCase(4095)]
    [TestCase(4096)]
    [TestCase(4097)]
    [TestCase(1_000_003)]
    public void Every_range_is_the_bytes_of_the_file(int length)
    {
        byte[] bytes = Write(length);
        using DirectFile file = DirectFile.Open(_path);
        using var target = new AlignedBuffer<byte>(4 << 20);
        for (int offset = 0; offset < length; offset += 4096 * Math.Max(1, length / 40_000))
        {
            foreach (int count in new[] { 4096, 8192, 1 << 20 })
            {
                file.Read(offset, target.Pointer, count);
                int expected = Math.Min(count, length - offset);
                Assert.That(new ReadOnlySpan<byte>(target.Pointer, expected).SequenceEqual(bytes.AsSpan(offset, expected)), $"{offset} + {count}");
            }
        }

        Assert.That(file.Length, Is.EqualTo(length));
    }

    /// <summary>Where it depends on how a file is opened, on Windows, past the page cache and through it.</summary>
    [Test]
    [Platform("Win")]
    public void Reads_of_several_threads_do_not_wait_for_one_another()
    {
        Write(100_000);
        using DirectFile file = DirectFile.Open(_path);
        Assert.That(file.ReadsOverlap);
        if (file.IsDirect)
        {
            // At a place that is not aligned most file systems refuse direct reads, and the file is opened once more.
            using var target = new AlignedBuffer<byte>(1 << 20);
            file.Read(1, target.Pointer, 8192);
            Assert.That(file.ReadsOverlap);
        }
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Nobody may cut a file that is read.")]
    public void A_file_that_was_cut_is_an_error_that_says_where_it_ends()
    {
        Write(100_000);
        using DirectFile file = DirectFile.Open(_path);
        SetLength(50_000);
        using var target = new AlignedBuffer<byte>(1 << 20);
        Assert.That(() => file.Read(49_152, target.Pointer, 8192), Throws.InstanceOf<IOException>().With.Message.Contains("100,000"));
        Assert.That(() => file.Read(65_536, target.Pointer, 8192), Throws.InstanceOf<IOException>().With.Message.Contains("100,000"));
        Assert.That(file.HasChanged);
    }

    [Test]
    public void A_file_that_was_written_is_an_error()
    {
        Write(100_000);
        using DirectFile file = DirectFile.Open(_path);
        using var target = new AlignedBuffer<byte>(1 << 20);
        file.Read(0, target.Pointer, 8192);
        File.SetLastWriteTimeUtc(_path, DateTime.UtcNow.AddMinutes(5));
        Assert.That(() => file.Read(0, target.Pointer, 8192), Throws.InstanceOf<IOException>().With.Message.Contains("was changed"));
    }

    /// <summary>As where the ticket of a network drive has run out: .NET has an exception of another kind for it, which nobody would try again or name the file for.</summary>
    [Test]
    [Platform("Linux")]
    public void A_read_that_the_system_refuses_fails_like_one_of_a_drive_that_fails()
    {
        Write(100_000);
        using DirectFile file = DirectFile.Open(_path);
        int own = int.Parse(Path.GetFileName(Directory.GetFiles("/proc/self/fd").Single(f => new FileInfo(f).LinkTarget == _path)), System.Globalization.CultureInfo.InvariantCulture);
        using SafeFileHandle writeOnly = File.OpenHandle(_path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        Assert.That(Duplicate((int)writeOnly.DangerousGetHandle(), own), Is.EqualTo(own));
        using var target = new AlignedBuffer<byte>(1 << 20);
        Assert.That(() => file.Read(0, target.Pointer, 8192), Throws.InstanceOf<IOException>().With.InnerException.TypeOf<UnauthorizedAccessException>());
    }

    /// <summary>The same of a file system that refuses direct reads only when it comes to reading: the file is opened once more then.</summary>
    [Test]
    [Platform("Linux")]
    public void A_file_that_may_not_be_opened_once_more_fails_like_one_of_a_drive_that_fails()
    {
        Write(100_000);
        using var target = new AlignedBuffer<byte>(1 << 20);
        using (DirectFile other = DirectFile.Open(_path))
        {
            // At a place that is not aligned most refuse them.
            bool direct = other.IsDirect;
            other.Read(1, target.Pointer, 8192);
            Assume.That(direct && !other.IsDirect, "This file system takes all direct reads.");
        }

        using DirectFile file = DirectFile.Open(_path);
        File.Delete(_path);
        Directory.CreateDirectory(_path);
        Assert.That(() => file.Read(1, target.Pointer, 8192), Throws.InstanceOf<IOException>().With.InnerException.TypeOf<UnauthorizedAccessException>());
    }

    [Test]
    public void A_missing_file_is_an_error() => Assert.That(() => DirectFile.Open(_path), Throws.InstanceOf<IOException>());

    [Test]
    [Platform("Linux")]
    public void A_file_system_that_refuses_direct_reads_is_read_through_the_page_cache()
    {
        // Kernel tables are files without pages to go past.
        const string Table = "/proc/cpuinfo";
        using DirectFile file = DirectFile.Open(Table);
        Assert.That(file.IsDirect, Is.False);
    }

    /// <summary>Systems have numbers of their own for it, and .NET hands them on.</summary>
    [TestCase(22, false, true)]
    [TestCase(5, false, false)]
    [TestCase(unchecked((int)0x80070057), true, true)]
    [TestCase(unchecked((int)0x80070016), true, false)]
    [TestCase(unchecked((int)0x8007045D), true, false)]
    public void A_read_that_the_file_system_refuses_is_told_from_one_that_fails(int result, bool onWindows, bool expected) =>
        Assert.That(DirectFile.IsRefusal(new IOException("", result), onWindows), Is.EqualTo(expected));

    [LibraryImport("libc", EntryPoint = "dup2")]
    private static partial int Duplicate(int descriptor, int other);

    private byte[] Write(int length)
    {
        var bytes = new byte[length];
        new Random(length).NextBytes(bytes);
        File.WriteAllBytes(_path, bytes);
        return bytes;
    }

    private void SetLength(long length)
    {
        using var stream = new FileStream(_path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        stream.SetLength(length);
    }
}
