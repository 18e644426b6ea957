// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>A step of 16 groups, one of each lane, whose records lie one behind another.</summary>
internal static unsafe partial class TileUnpacker
{
    /// <summary>Parts of a step: halves of its rows by halves of its groups.</summary>
    public const int StepParts = 4;

    /// <summary>Unpacks with 256 bits.</summary>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Int4Group32"/>.</param>
    /// <param name="firstRow">Of 32; those behind the last one become zeros.</param>
    /// <param name="firstGroup">A multiple of 16; columns behind the end become zeros.</param>
    /// <param name="part">Which.</param>
    /// <param name="records">(16, <see cref="WeightTile.RecordBytes"/>).</param>
    public static void UnpackStep(in WeightMatrix weight, int firstRow, int firstGroup, int part, byte* records)
    {
        int half = part / 2;
        int from = part % 2 * 8;
        int row = firstRow + (half * WeightTile.HalfRows);
        int rows = Math.Clamp(weight.Rows - row, 0, WeightTile.HalfRows);
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        int whole = (weight.Columns / Int4Group32.GroupSize) - firstGroup;
        byte* record = records + (from * WeightTile.RecordBytes);
        if (rows == WeightTile.HalfRows && from + 8 <= whole)
        {
            long rowBytes = Int4Group32.RowBytes(weight.Columns);
            byte* data = weight.Data + (row * rowBytes) + ((firstGroup + from) * GroupBytes);
            ushort* scales = (ushort*)weight.Scales + ((long)row * groups) + firstGroup + from;
            Nibbles16x8(data, rowBytes, record + (half * WeightTile.HalfBytes), WeightTile.RecordBytes);
            Transpose16x8(scales, groups, record + WeightTile.ScalesAt + (half * 2 * WeightTile.HalfRows), WeightTile.RecordBytes);
            return;
        }

        for (int g = from; g < from + 8; g++, record += WeightTile.RecordBytes)
        {
            new Span<byte>(record + (half * WeightTile.HalfBytes), WeightTile.HalfBytes).Clear();
            new Span<byte>(record + WeightTile.ScalesAt + (half * 2 * WeightTile.HalfRows), 2 * WeightTile.HalfRows).Clear();
            for (int r = 0; r < rows && firstGroup + g < groups; r++)
            {
                Element(weight, row + r, firstGroup + g, groups, record, (half * WeightTile.HalfRows) + r);
            }
        }
    }
}
