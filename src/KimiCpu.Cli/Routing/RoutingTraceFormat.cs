// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.IO.Hashing;

namespace KimiCpu.Cli.Routing;

/// <summary>
/// Layout of a routing trace, little endian. First the opening: <see cref="Magic"/>, the version as int32, the bytes of the
/// header as int32. Then the header and one block for every forward pass, each followed by its XxHash3 of 64 bits, seeded
/// with its number (the opening is hashed with the header). A block is the number of rows as int32, then for every MoE layer
/// (rows, experts per token) ids as uint16, then, where the header says so, for every MoE layer but the first as many that
/// were predicted for it. The last block has 0 rows and the number of blocks before it as int64; nothing follows.
/// </summary>
internal static class RoutingTraceFormat
{
    public const int Version = 1;
    public const int OpeningBytes = 16;
    public const int HashBytes = sizeof(ulong);

    /// <summary>A header is a few numbers, the list of layers and two short texts.</summary>
    public const int MaxHeaderBytes = 1 << 16;

    /// <summary>More than a forward pass takes in.</summary>
    public const int MaxRows = 1 << 16;

    /// <summary>The end of line is damaged by transfers in text mode.</summary>
    public static ReadOnlySpan<byte> Magic => "KimiRT\r\n"u8;

    public static ulong Hash(ReadOnlySpan<byte> block, long number) => XxHash3.HashToUInt64(block, number);
}
