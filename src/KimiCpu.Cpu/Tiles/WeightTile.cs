// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// 32 rows of a weight, one byte an element, in the order in which a tile kernel reads them: lane after lane of
/// <see cref="LaneSum"/>, within a lane its groups of 32 columns by rising index. A group is a record: for each half of 16
/// rows eight vectors of 16 rows x 4 columns, then 32 bfloat16 scales. Columns of a group come as 16 even ones, then 16
/// odd ones, as in packed INT4. Elements are unsigned: a weight plus its format's bias.
/// </summary>
internal static class WeightTile
{
    public const int Rows = 32;

    /// <summary>Rows side by side in a vector.</summary>
    public const int HalfRows = 16;

    public const int HalfBytes = HalfRows * Int4Group32.GroupSize;

    /// <summary>Rows x 4 columns of one half.</summary>
    public const int VectorBytes = HalfRows * 4;

    public const int ScalesAt = 2 * HalfBytes;

    public const int RecordBytes = ScalesAt + (Rows * sizeof(ushort));

    /// <summary>What is added to a weight to make it unsigned, for weights of 8 bits.</summary>
    public const int Int8Bias = 128;

    public static long Bytes(int columns) => (long)LaneSum.BlocksOf(columns) * LaneSum.Lanes * RecordBytes;

    public static int TilesOf(int rows) => (rows + Rows - 1) / Rows;

    /// <summary>Index of a group's record.</summary>
    public static int RecordOf(int group, int blocks) => ((group % LaneSum.Lanes) * blocks) + (group / LaneSum.Lanes);
}
