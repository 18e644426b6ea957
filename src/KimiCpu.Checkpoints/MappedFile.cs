// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.MemoryMappedFiles;
using System.Reflection;

namespace KimiCpu.Checkpoints;

/// <summary>
/// The only owner of one file's bytes in memory: a read-only mapping of a file, or of a resource that the runtime has
/// mapped with its assembly. Nothing is copied; pages come in when they are read.
/// </summary>
internal sealed unsafe class MappedFile : IDisposable
{
    private readonly MemoryMappedFile? _mapping;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly UnmanagedMemoryStream? _resource;
    private byte* _pointer;
    private int _disposed;

    private MappedFile(MemoryMappedFile mapping, MemoryMappedViewAccessor view, long length)
    {
        _mapping = mapping;
        _view = view;
        Length = length;
        byte* pointer = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        _pointer = pointer + view.PointerOffset;
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
        long length = stream.Length;
        MemoryMappedFile mapping = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        try
        {
            return new MappedFile(mapping, mapping.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read), length);
        }
        catch
        {
            mapping.Dispose();
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
}
