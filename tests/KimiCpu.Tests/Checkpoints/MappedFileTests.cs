// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

[TestFixture]
[Parallelizable(ParallelScope.All)]
public sealed class MappedFileTests
{
    [Test]
    [Platform("Linux")]
    public void Mapping_asks_for_huge_pages()
    {
        if (!Directory.Exists("/sys/kernel/mm/transparent_hugepage"))
        {
            Assert.Ignore("This system's kernel has no transparent huge pages.");
        }

        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[8 << 20]);
            using MappedFile file = MappedFile.Open(path);
            Assert.That(FlagsOfMapping(file), Does.Contain("hg"));
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>A file that stays open is in the way of who writes it again.</summary>
    [Test]
    public void A_file_that_cannot_be_mapped_is_closed()
    {
        string path = Path.GetTempFileName();
        try
        {
            Assert.That(() => MappedFile.Open(path), Throws.ArgumentException, "it is empty");
            Assert.That(() => new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None).Dispose(), Throws.Nothing);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>What the system knows about the mapping, in the words of /proc/self/smaps.</summary>
    private static unsafe string[] FlagsOfMapping(MappedFile file)
    {
        string begin = ((nint)file.Pointer).ToString("x", CultureInfo.InvariantCulture) + "-";
        return File.ReadLines("/proc/self/smaps")
            .SkipWhile(line => !line.StartsWith(begin, StringComparison.Ordinal))
            .First(line => line.StartsWith("VmFlags:", StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries);
    }
}
