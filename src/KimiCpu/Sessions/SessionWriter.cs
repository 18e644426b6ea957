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
        _file = Begin(path);
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

    /// <summary>Finds out whether a session can be saved there, before much is done for it.</summary>
    /// <exception cref="IOException">It cannot.</exception>
    /// <exception cref="UnauthorizedAccessException">Writing there is not allowed.</exception>
    public static void CheckPlace(string path) => Begin(path).Dispose();

    public void WritePage(ReadOnlySpan<byte> page) => WriteBlock(page);

    /// <summary>Moves the file to its place, once its bytes have reached the drive.</summary>
    public void Finish() => _file.Finish();

    /// <summary>Deletes what was not finished.</summary>
    public void Dispose() => _file.Dispose();

    private static UnfinishedFile Begin(string path)
    {
        if (Directory.Exists(path))
        {
            throw new IOException($"{Path.GetFullPath(path)} is a folder; a session is saved to a file.");
        }

        // A conversation is nobody else's business.
        return new UnfinishedFile(path, ownersOnly: true);
    }

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
