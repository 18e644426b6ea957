// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KimiCpu.Checkpoints;

namespace KimiCpu.Cli.Routing;

/// <summary>Writes a trace beside its place, a forward pass at a time, and moves it there in the end. See <see cref="RoutingTraceFormat"/>.</summary>
internal sealed class RoutingTraceWriter : IDisposable
{
    private readonly UnfinishedFile _file;
    private byte[] _block = [];
    private long _blocks;

    public RoutingTraceWriter(string path, RoutingTraceHeader header)
    {
        _file = new UnfinishedFile(path);
        try
        {
            byte[] headerBytes = header.ToBytes();
            var opening = new byte[RoutingTraceFormat.OpeningBytes + headerBytes.Length];
            RoutingTraceFormat.Magic.CopyTo(opening);
            BinaryPrimitives.WriteInt32LittleEndian(opening.AsSpan(8), RoutingTraceFormat.Version);
            BinaryPrimitives.WriteInt32LittleEndian(opening.AsSpan(12), headerBytes.Length);
            headerBytes.CopyTo(opening, RoutingTraceFormat.OpeningBytes);
            WriteBlock(opening);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Forward passes that have been written.</summary>
    public long Passes { get; private set; }

    public void Write(RoutingStep step)
    {
        Span<byte> experts = MemoryMarshal.AsBytes(step.Experts);
        Span<byte> predicted = MemoryMarshal.AsBytes(step.Predicted);
        int length = sizeof(int) + experts.Length + predicted.Length;
        if (_block.Length < length)
        {
            _block = new byte[length];
        }

        BinaryPrimitives.WriteInt32LittleEndian(_block, step.Rows);
        experts.CopyTo(_block.AsSpan(sizeof(int)));
        predicted.CopyTo(_block.AsSpan(sizeof(int) + experts.Length));
        WriteBlock(_block.AsSpan(0, length));
        Passes++;
    }

    /// <summary>Ends the file and moves it to its place.</summary>
    public void Finish()
    {
        Span<byte> end = stackalloc byte[sizeof(int) + sizeof(long)];
        end.Clear();
        BinaryPrimitives.WriteInt64LittleEndian(end[sizeof(int)..], Passes);
        WriteBlock(end);
        _file.Finish();
    }

    /// <summary>Deletes what was not finished.</summary>
    public void Dispose() => _file.Dispose();

    private void WriteBlock(ReadOnlySpan<byte> block)
    {
        Span<byte> hash = stackalloc byte[RoutingTraceFormat.HashBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(hash, RoutingTraceFormat.Hash(block, _blocks++));
        _file.Stream.Write(block);
        _file.Stream.Write(hash);
    }
}
