// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KimiCpu.Sessions;

/// <summary>Writes a session's file beside its place and moves it there when it is whole. See <see cref="SessionFormat"/>.</summary>
internal sealed class SessionWriter : IDisposable
{
    private readonly string _path;
    private readonly string _unfinished;
    private readonly FileStream _file;
    private ulong _seed;
    private int _blocks;

    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="header">What follows.</param>
    /// <param name="tokens">As many as the header says.</param>
    /// <param name="application">As many as the header says.</param>
    public SessionWriter(string path, SessionHeader header, ReadOnlySpan<int> tokens, ReadOnlySpan<byte> application)
    {
        _path = Path.GetFullPath(path);
        if (Directory.Exists(_path))
        {
            throw new IOException($"{_path} is a folder; a session is saved to a file.");
        }

        _unfinished = $"{_path}.{Guid.NewGuid():N}.unfinished";

        // Without a buffer: one that cannot be written to a full drive would fail again when the file is closed, and stay behind.
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 0 };
        if (!OperatingSystem.IsWindows())
        {
            // A conversation is nobody else's business.
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        _file = new FileStream(_unfinished, options);
        try
        {
            byte[] headerBytes = header.ToBytes();
            var opening = new byte[SessionFormat.OpeningBytes + headerBytes.Length];
            SessionFormat.Magic.CopyTo(opening);
            BinaryPrimitives.WriteInt32LittleEndian(opening.AsSpan(8), SessionFormat.Version);
            BinaryPrimitives.WriteInt32LittleEndian(opening.AsSpan(12), headerBytes.Length);
            headerBytes.CopyTo(opening, SessionFormat.OpeningBytes);
            _seed = WriteBlock(opening);
            _seed = WriteBlock(MemoryMarshal.AsBytes(tokens));
            WriteBlock(application);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public void WritePage(ReadOnlySpan<byte> page) => WriteBlock(page);

    /// <summary>Moves the file to its place, once its bytes have reached the drive.</summary>
    public void Finish()
    {
        _file.Flush(flushToDisk: true);
        _file.Dispose();
        File.Move(_unfinished, _path, overwrite: true);
    }

    /// <summary>Deletes what was not finished.</summary>
    public void Dispose()
    {
        _file.Dispose();
        File.Delete(_unfinished);
    }

    private ulong WriteBlock(ReadOnlySpan<byte> block)
    {
        ulong hash = SessionFormat.Hash(block, _seed, _blocks++);
        _file.Write(block);
        Span<byte> bytes = stackalloc byte[SessionFormat.HashBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, hash);
        _file.Write(bytes);
        return hash;
    }
}
