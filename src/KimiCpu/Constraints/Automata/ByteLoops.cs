// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Automata;

/// <summary>
/// Sets of bytes as 64 bits: letters, digits and the blank have one each, all others share the last one. Where a state leads back to
/// itself by a set of bytes, texts of these need no reading.
/// </summary>
internal static class ByteLoops
{
    /// <summary>The bytes of bits 0 … 62.</summary>
    public static ReadOnlySpan<byte> Bytes => "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "u8;

    public static ulong BitOf(byte value) => Bytes.IndexOf(value) is >= 0 and int bit ? 1UL << bit : 1UL << 63;
}
