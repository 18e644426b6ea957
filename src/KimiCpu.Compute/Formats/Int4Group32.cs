// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>
/// The INT4 layout of compressed-tensors <c>pack-quantized</c>, group 32, symmetric: byte <c>b</c> of a row holds column
/// <c>2b</c> in its low and <c>2b + 1</c> in its high nibble, each stored as value + 8 (value in -8..7). A row is padded
/// to whole 32-bit words (8 columns). Weight = value x BF16 scale of its group of 32 columns; no zero point.
/// </summary>
internal static class Int4Group32
{
    /// <summary>Columns that share one scale.</summary>
    public const int GroupSize = 32;

    /// <summary>What is added to a value when it is stored.</summary>
    public const int Bias = 8;

    /// <summary>Bytes of one packed row: 8 columns a 32-bit word.</summary>
    public static int RowBytes(int columns) => (columns + 7) / 8 * 4;

    /// <summary>Scales of one row, the last of them for a ragged group.</summary>
    public static int GroupsPerRow(int columns) => (columns + GroupSize - 1) / GroupSize;
}
