// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Rounded activations of a few tokens in the order in which stored INT4 rows meet them: for each step of four groups and
/// each token 64 even columns, 64 odd ones, and for each group a correction, a scale and eight bytes of nothing.
/// </summary>
internal static unsafe class StepTiles
{
    /// <summary>Columns of a step.</summary>
    public const int Columns = Groups * Int4Group32.GroupSize;

    public const int OddAt = Groups * GroupBytes;

    /// <summary>Where corrections and scales are; which doubleword of a group's 16 bytes they take.</summary>
    public const int FactorsAt = 2 * OddAt;
    public const int CorrectionWord = 0;
    public const int ScaleWord = 1;

    /// <summary>From group to group, in each of the three.</summary>
    public const int GroupBytes = Int4Group32.GroupSize / 2;

    /// <summary>A token's part of a step.</summary>
    public const int TokenBytes = FactorsAt + (Groups * GroupBytes);

    private const int Groups = 4;

    /// <summary>Bytes of a tile.</summary>
    public static long Bytes(int tokens, int columns) => (long)tokens * ((columns + Columns - 1) / Columns) * TokenBytes;

    /// <summary>Copies rows of one width. Compiled well at once: else the first calls would take as long as the products.</summary>
    /// <param name="rows">The tokens of the tile.</param>
    /// <param name="columns">Of a row.</param>
    /// <param name="tile">Receives them.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Write(ReadOnlySpan<QuantizedRow> rows, int columns, byte* tile)
    {
        for (int group = 0; group * Int4Group32.GroupSize < columns; group += Groups)
        {
            foreach (QuantizedRow row in rows)
            {
                Unsafe.CopyBlockUnaligned(tile, row.Even + (group * GroupBytes), OddAt);
                Unsafe.CopyBlockUnaligned(tile + OddAt, row.Odd + (group * GroupBytes), OddAt);
                for (int g = 0; g < Groups; g++)
                {
                    int* factors = (int*)(tile + FactorsAt + (g * GroupBytes));
                    factors[CorrectionWord] = row.Corrections[group + g];
                    ((float*)factors)[ScaleWord] = row.Scales[group + g];
                }

                tile += TokenBytes;
            }
        }
    }
}
