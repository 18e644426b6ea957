// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.IO.Hashing;

namespace KimiCpu.Sessions;

/// <summary>
/// Layout of a page's file, little endian: <see cref="Magic"/>, the page's key (see <see cref="PageKey"/>), its contents, and the XxHash3 of the contents of 64 bits,
/// seeded with that of what comes before them.
/// </summary>
internal static class PageFileFormat
{
    public const int KeyBytes = 32;
    public const int HeaderBytes = 8 + KeyBytes;
    public const int HashBytes = sizeof(ulong);

    private static ReadOnlySpan<byte> Magic => "KimiPG\r\n"u8;

    /// <summary>Bytes of a file.</summary>
    public static long FileBytes(int pageBytes) => HeaderBytes + (long)pageBytes + HashBytes;

    public static void Write(Stream stream, byte[] key, ReadOnlySpan<byte> page)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        Span<byte> hash = stackalloc byte[HashBytes];
        Magic.CopyTo(header);
        key.CopyTo(header[Magic.Length..]);
        BinaryPrimitives.WriteUInt64LittleEndian(hash, Hash(header, page));
        stream.Write(header);
        stream.Write(page);
        stream.Write(hash);
    }

    /// <returns>What is wrong with the file; null where it is the page.</returns>
    public static string? Read(Stream stream, byte[] key, Span<byte> page)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        Span<byte> hash = stackalloc byte[HashBytes];
        if (stream.Length != FileBytes(page.Length))
        {
            return $"it has {stream.Length:N0} bytes, and not the {FileBytes(page.Length):N0} of a page";
        }

        stream.ReadExactly(header);
        if (!header.StartsWith(Magic) || !header[Magic.Length..].SequenceEqual(key))
        {
            return "it does not begin as the file of this page does";
        }

        stream.ReadExactly(page);
        stream.ReadExactly(hash);
        return BinaryPrimitives.ReadUInt64LittleEndian(hash) == Hash(header, page) ? null : "its checksum is not that of its bytes";
    }

    private static ulong Hash(ReadOnlySpan<byte> header, ReadOnlySpan<byte> page) => XxHash3.HashToUInt64(page, (long)XxHash3.HashToUInt64(header));
}
