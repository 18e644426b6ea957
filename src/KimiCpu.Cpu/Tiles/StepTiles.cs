// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Rounded activations of a few tokens in the order in which stored INT4 rows meet them: for each step of 512 columns and
/// each token 256 even columns, 256 odd ones, 16 scales and 16 corrections. Group 4 q + l of a step has its scale and its
/// correction at 4 l + q.
/// </summary>
internal static unsafe class StepTiles
{
    public const int OddAt = LaneSum.Lanes * HalfGroup;
    public const int ScalesAt = 2 * OddAt;
    public const int CorrectionsAt = ScalesAt + (LaneSum.Lanes * sizeof(float));

    /// <summary>A token's part of a step.</summary>
    public const int TokenBytes = CorrectionsAt + (LaneSum.Lanes * sizeof(int));

    private const int HalfGroup = 16;

    /// <summary>Bytes of a tile.</summary>
    public static long Bytes(int tokens, int columns) => (long)tokens * LaneSum.BlocksOf(columns) * TokenBytes;

    /// <summary>Copies rows of one width.</summary>
    /// <param name="rows">The tokens of the tile.</param>
    /// <param name="tile">Receives them.</param>
    public static void Write(ReadOnlySpan<QuantizedRow> rows, byte* tile)
    {
        for (int group = 0; group < rows[0].Groups; group += LaneSum.Lanes)
        {
            foreach (QuantizedRow row in rows)
            {
                Buffer.MemoryCopy(row.Even + (group * HalfGroup), tile, OddAt, OddAt);
                Buffer.MemoryCopy(row.Odd + (group * HalfGroup), tile + OddAt, OddAt, OddAt);
                Transpose(row.Scales + group).Store((float*)(tile + ScalesAt));
                Transpose((float*)row.Corrections + group).Store((float*)(tile + CorrectionsAt));
                tile += TokenBytes;
            }
        }
    }

    private static Vector512<float> Transpose(float* groups) =>
        Vector512.Shuffle(Vector512.Load(groups), Vector512.Create(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}
