// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KimiCpu.Cli.Routing;

/// <summary>A whole trace in memory, read from a file of which nothing is believed that has not been checked.</summary>
/// <param name="Header">Whose.</param>
/// <param name="Steps">Forward passes in order.</param>
internal sealed record RoutingTrace(RoutingTraceHeader Header, IReadOnlyList<RoutingStep> Steps)
{
    private const string Damaged = "The file is damaged; record the trace anew.";

    /// <exception cref="RoutingTraceException">The file is no whole trace.</exception>
    public static RoutingTrace Read(string path)
    {
        using Stream file = Open(path);
        return Read(file, path);
    }

    /// <param name="file">From its beginning to its end, which it knows.</param>
    /// <param name="name">For messages.</param>
    /// <exception cref="RoutingTraceException">It is no whole trace.</exception>
    public static RoutingTrace Read(Stream file, string name)
    {
        long blocks = 0;
        RoutingTraceHeader header = ReadHeader();
        var steps = new List<RoutingStep>();
        while (ReadStep() is { } step)
        {
            steps.Add(step);
        }

        return new RoutingTrace(header, steps);

        RoutingTraceHeader ReadHeader()
        {
            var opening = new byte[RoutingTraceFormat.OpeningBytes];
            int read = file.ReadAtLeast(opening, opening.Length, throwOnEndOfStream: false);
            if (read < opening.Length || !opening.AsSpan().StartsWith(RoutingTraceFormat.Magic))
            {
                throw Problem("This is no routing trace: it does not begin like one. `kimi trace` records them.");
            }

            int version = BinaryPrimitives.ReadInt32LittleEndian(opening.AsSpan(8));
            if (version != RoutingTraceFormat.Version)
            {
                throw Problem($"The trace has format {version}, and this version of KimiCpu reads format {RoutingTraceFormat.Version}. Record it anew, or use the version that wrote it.");
            }

            int length = BinaryPrimitives.ReadInt32LittleEndian(opening.AsSpan(12));
            if (length is < 1 or > RoutingTraceFormat.MaxHeaderBytes)
            {
                throw Problem($"The header would have {length} bytes. {Damaged}");
            }

            byte[] block = [.. opening, .. new byte[length]];
            ReadBlock(block, opening.Length, "the header");
            try
            {
                return RoutingTraceHeader.Of(block[opening.Length..]);
            }
            catch (FormatException e)
            {
                throw Problem($"{e.Message} {Damaged}");
            }
        }

        RoutingStep? ReadStep()
        {
            string what = $"forward pass {blocks}";
            Span<byte> start = stackalloc byte[sizeof(int)];
            if (file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) < start.Length)
            {
                throw Problem($"The file ends before {what}, without saying that this is the end. {Damaged}");
            }

            int rows = BinaryPrimitives.ReadInt32LittleEndian(start);
            long length = rows == 0 ? sizeof(long) : header.BytesOf(rows);
            if (rows is < 0 or > RoutingTraceFormat.MaxRows || length > file.Length - file.Position - RoutingTraceFormat.HashBytes)
            {
                throw Problem($"The file says that {what} has {rows:N0} rows, which does not fit in the {file.Length - file.Position:N0} bytes that are left. {Damaged}");
            }

            byte[] block = [.. start, .. new byte[length]];
            long passes = blocks - 1;
            ReadBlock(block, start.Length, what);
            if (rows == 0)
            {
                long said = BinaryPrimitives.ReadInt64LittleEndian(block.AsSpan(sizeof(int)));
                return said == passes && file.Position == file.Length
                    ? null
                    : throw Problem($"The end says {said:N0} forward passes, and {passes:N0} were read with {file.Length - file.Position:N0} bytes left. {Damaged}");
            }

            var step = new RoutingStep(header, rows);
            Span<ushort> ids = MemoryMarshal.Cast<byte, ushort>(block.AsSpan(sizeof(int)));
            ids[..step.Experts.Length].CopyTo(step.Experts);
            ids[step.Experts.Length..].CopyTo(step.Predicted);
            int wrong = header.ExpertCount > ushort.MaxValue ? -1 : ids.IndexOfAnyExceptInRange((ushort)0, (ushort)(header.ExpertCount - 1));
            return wrong < 0 ? step : throw Problem($"In {what} an expert has the id {ids[wrong]}, but ids run from 0 to {header.ExpertCount - 1}. {Damaged}");
        }

        void ReadBlock(Span<byte> block, int known, string what)
        {
            long position = file.Position;
            Span<byte> stored = stackalloc byte[RoutingTraceFormat.HashBytes];
            int read = file.ReadAtLeast(block[known..], block.Length - known, throwOnEndOfStream: false);
            if (read < block.Length - known || file.ReadAtLeast(stored, stored.Length, throwOnEndOfStream: false) < stored.Length)
            {
                throw Problem($"The file ends inside {what}, which begins at byte {position:N0}. {Damaged}");
            }

            ulong hash = RoutingTraceFormat.Hash(block, blocks++);
            ulong expected = BinaryPrimitives.ReadUInt64LittleEndian(stored);
            if (hash != expected)
            {
                throw Problem($"The checksum of {what}, which begins at byte {position:N0}, is {expected:x16}, but its bytes give {hash:x16}. {Damaged}");
            }
        }

        RoutingTraceException Problem(string problem) => new(name, problem);
    }

    /// <summary>A pipe does not say how long it is.</summary>
    private static Stream Open(string path)
    {
        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        if (file.CanSeek)
        {
            return file;
        }

        using (file)
        {
            var all = new MemoryStream();
            file.CopyTo(all);
            all.Position = 0;
            return all;
        }
    }
}
