// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// The one order in which all integer kernels add up a row: group g of 32 columns goes to lane g mod 16, lanes add their
/// groups by rising g as sum + dot * (weight scale * activation scale), the scales' product rounded on its own and the rest as a fused
/// multiply-add, and lanes are folded by halves: 16, 8, 4, 2. So every instruction set, tile size and batch gives the
/// bits of the scalar definition.
/// </summary>
internal static unsafe class LaneSum
{
    public const int Lanes = 16;

    /// <summary>Blocks of 16 groups that so many columns fill, the last one perhaps in part.</summary>
    public static int BlocksOf(int columns) => (Int4Group32.GroupsPerRow(columns) + Lanes - 1) / Lanes;

    public static float Fold(float* lanes) =>
        Fold(Vector128.Load(lanes), Vector128.Load(lanes + 4), Vector128.Load(lanes + 8), Vector128.Load(lanes + 12));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Fold(Vector128<float> a, Vector128<float> b, Vector128<float> c, Vector128<float> d) => Fold((a + c) + (b + d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Fold(Vector512<float> lanes) => Fold(lanes.GetLower(), lanes.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Fold(Vector256<float> low, Vector256<float> high)
    {
        Vector256<float> sum = low + high;
        return Fold(sum.GetLower() + sum.GetUpper());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Fold(Vector128<float> sum) =>
        (sum.GetElement(0) + sum.GetElement(2)) + (sum.GetElement(1) + sum.GetElement(3));
}
