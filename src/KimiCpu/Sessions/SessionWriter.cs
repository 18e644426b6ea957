// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;

namespace KimiCpu.Sessions;

/// <summary>Writes a session's file beside its place and moves it there when it is whole. See <see cref="SessionFormat"/>.</summary>
internal sealed class SessionWriter : IDisposable
{
    private readonly UnfinishedFile _file;
    private ulong _seed;
    private int _blocks;

    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="header">What follows.</param>
    /// <param name="tokens">As many as the header says.</param>
    /// <param name="application">As many as the header says.</param>
    public SessionWriter(string path, SessionHeader header, ReadOnlySpan<int> tokens, ReadOnlySpan<byte> application)
    {
        if (Directory.Exists(path))
        {
            throw new IOException($"{Path.GetFullPath(path)} is a folder; a session is saved to a file.");
        }

        // A conversation is nobody else's business.
        _file = new UnfinishedFile(path, ownersOnly: true);
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
    public void Finish() => _file.Finish();

    /// <summary>Deletes what was not finished.</summary>
    public void Dispose() => _file.Dispose();

    private ulong WriteBlock(ReadOnlySpan<byte> block)
    {
        ulong hash = SessionFormat.Hash(block, _seed, _blocks++);
        _file.Stream.Write(block);
        Span<byte> bytes = stackalloc byte[SessionFormat.HashBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, hash);
        _file.Stream.Write(bytes);
        return hash;
    }
}
