// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.MemoryMappedFiles;
using System.Reflection;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Checkpoints;

/// <summary>
/// The only owner of one file's bytes in memory: a read-only mapping of a file, or of a resource that the runtime has
/// mapped with its assembly. Nothing is copied; pages come in when they are read.
/// </summary>
internal sealed unsafe partial class MappedFile : IDisposable
{
    private const int AdviceHugePage = 14;
    private const int AdvicePopulateRead = 22;

    private readonly MemoryMappedFile? _mapping;
    private readonly MemoryMappedViewAccessor? _view;

    /// <summary>Of the file that is mapped, which the mapping holds open.</summary>
    private readonly SafeFileHandle? _file;

    private readonly UnmanagedMemoryStream? _resource;
    private byte* _pointer;
    private int _disposed;

    private MappedFile(MemoryMappedFile mapping, MemoryMappedViewAccessor view, SafeFileHandle file, long length)
    {
        _mapping = mapping;
        _view = view;
        _file = file;
        Length = length;
        byte* pointer = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        _pointer = pointer + view.PointerOffset;
        AskForHugePages();
    }

    private MappedFile(UnmanagedMemoryStream resource)
    {
        _resource = resource;
        _pointer = resource.PositionPointer;
        Length = resource.Length;
    }

    /// <summary>First byte; valid until disposed.</summary>
    public byte* Pointer => _pointer != null ? _pointer : throw new ObjectDisposedException(nameof(MappedFile));

    public long Length { get; }

    /// <summary>Maps a whole file, which must not be empty.</summary>
    public static MappedFile Open(string path)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1, FileOptions.RandomAccess);
        MemoryMappedFile? mapping = null;
        try
        {
            long length = stream.Length;
            mapping = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            return new MappedFile(mapping, mapping.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read), stream.SafeFileHandle, length);
        }
        catch
        {
            mapping?.Dispose();
            stream.Dispose();
            throw;
        }
    }

    /// <summary>The bytes of a manifest resource where they lie in the assembly's image; null if there is no such resource.</summary>
    public static MappedFile? OpenResource(Assembly assembly, string name) => assembly.GetManifestResourceStream(name) switch
    {
        null => null,
        UnmanagedMemoryStream stream => new MappedFile(stream),
        Stream other => throw new NotSupportedException($"Resource '{name}' comes as a {other.GetType().Name}, which has no address in memory."),
    };

    /// <summary>Bytes of what is mapped, by an ordinary read that cannot fault, whatever lies at the file's path by now.</summary>
    /// <exception cref="IOException">They cannot be read, or the file has become shorter.</exception>
    /// <exception cref="ObjectDisposedException">It is disposed, which may be during the read.</exception>
    public byte[] Read(long offset, int count)
    {
        if (_file is null)
        {
            return new ReadOnlySpan<byte>(Pointer + offset, count).ToArray();
        }

        var bytes = new byte[count];
        for (int done = 0; done < count;)
        {
            int got = RandomAccess.Read(_file, bytes.AsSpan(done), offset + done);
            done += got > 0 ? got : throw new EndOfStreamException($"It ends at byte {offset + done:N0} now, and {offset + count:N0} were there when it was opened.");
        }

        return bytes;
    }

    /// <summary>Brings a range into memory and keeps it there until disposed; false where the system refuses, as it does beyond a user's limit.</summary>
    public bool TryLock(long offset, long length)
    {
        (nint first, nuint bytes) = Pages(offset, length);
        return !OperatingSystem.IsWindows() && Lock(first, bytes) == 0;
    }

    /// <summary>Brings a range into memory; false where the system cannot, or fails to read the file.</summary>
    public bool TryPopulate(long offset, long length)
    {
        (nint first, nuint bytes) = Pages(offset, length);
        return OperatingSystem.IsLinux() && Advise(first, bytes, AdvicePopulateRead) == 0;
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        _pointer = null;
        if (_view is not null)
        {
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _mapping!.Dispose();
        }

        _resource?.Dispose();
    }

    /// <summary>
    /// Has what is not in memory yet come in pages of 2 MiB, where Linux and the file system have them for files (ext4 and XFS of
    /// recent kernels): found with fewer address translations. On other file systems of Linux pages stay small, but are read in pieces of that size all the same.
    /// </summary>
    private void AskForHugePages()
    {
        if (OperatingSystem.IsLinux())
        {
            _ = Advise((nint)_pointer, (nuint)Length, AdviceHugePage);
        }
    }

    [LibraryImport("libc", EntryPoint = "mlock")]
    private static partial int Lock(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);

    /// <summary>The pages that a range touches.</summary>
    private (nint First, nuint Bytes) Pages(long offset, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - offset);
        nuint first = (nuint)(Pointer + offset) / (nuint)Environment.SystemPageSize * (nuint)Environment.SystemPageSize;
        return ((nint)first, (nuint)(Pointer + offset + length) - first);
    }
}
