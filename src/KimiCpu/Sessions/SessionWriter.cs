// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;

namespace KimiCpu.Sessions;

/// <summary>Writes a session strictly forwards: to a file beside its place, which is moved there when it is whole, or to a stream. See <see cref="SessionFormat"/>.</summary>
internal sealed class SessionWriter : IDisposable
{
    /// <summary>Null where it is written to a stream.</summary>
    private readonly UnfinishedFile? _file;
    private readonly Stream _stream;
    private ulong _seed;
    private int _blocks;

    /// <param name="place">Where; a file is replaced if it exists.</param>
    /// <param name="header">What follows.</param>
    /// <param name="tokens">As many as the header says.</param>
    /// <param name="application">As many as the header says.</param>
    public SessionWriter(SessionPlace place, SessionHeader header, ReadOnlySpan<int> tokens, ReadOnlySpan<byte> application)
    {
        _stream = place.BeginWriting(out _file);
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

    /// <summary>Moves a file to its place, once its bytes have reached the drive.</summary>
    public void Finish()
    {
        if (_file is null)
        {
            _stream.Flush();
        }
        else
        {
            _file.Finish();
        }
    }

    /// <summary>Deletes a file that was not finished.</summary>
    public void Dispose() => _file?.Dispose();

    private ulong WriteBlock(ReadOnlySpan<byte> block)
    {
        ulong hash = SessionFormat.Hash(block, _seed, _blocks++);
        _stream.Write(block);
        Span<byte> bytes = stackalloc byte[SessionFormat.HashBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, hash);
        _stream.Write(bytes);
        return hash;
    }
}
