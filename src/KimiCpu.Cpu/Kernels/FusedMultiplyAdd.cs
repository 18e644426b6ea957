// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// a * b + c rounded once, also where no instruction does it: there .NET asks the C library for each element, which takes as long as all else that a
/// group of weights takes together.
/// </summary>
internal static class FusedMultiplyAdd
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Of(Vector128<float> a, Vector128<float> b, Vector128<float> c) =>
        Fma.IsSupported || AdvSimd.IsSupported ? Vector128.FusedMultiplyAdd(a, b, c) : InDoublePrecision(a, b, c);

    /// <summary>
    /// The product is exact in double precision. Their sum is rounded to odd: where anything is lost, the last bit is one, so that rounding to
    /// single precision sees it (S. Boldo and G. Melquiond, Emulation of FMA and correctly rounded sums, IEEE Transactions on Computers 57, 2008).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<float> InDoublePrecision(Vector128<float> a, Vector128<float> b, Vector128<float> c)
    {
        (Vector128<double> aLow, Vector128<double> aHigh) = Vector128.Widen(a);
        (Vector128<double> bLow, Vector128<double> bHigh) = Vector128.Widen(b);
        (Vector128<double> cLow, Vector128<double> cHigh) = Vector128.Widen(c);
        return Vector128.Narrow(AddToOdd(aLow * bLow, cLow), AddToOdd(aHigh * bHigh, cHigh));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> AddToOdd(Vector128<double> a, Vector128<double> b)
    {
        Vector128<double> sum = a + b;
        Vector128<double> ofB = sum - a;
        Vector128<double> lost = (a - (sum - ofB)) + (b - ofB);

        // What is no number, or infinite, loses something that is no number, which is neither above nor below zero.
        Vector128<long> isLost = (Vector128.GreaterThan(lost, Vector128<double>.Zero) | Vector128.LessThan(lost, Vector128<double>.Zero)).AsInt64();
        Vector128<long> isEven = Vector128.Equals(sum.AsInt64() & Vector128<long>.One, Vector128<long>.Zero);

        // Away from zero where sum and loss have the same sign, else towards it: the neighbour's last bit is one.
        Vector128<long> step = ((sum.AsInt64() ^ lost.AsInt64()) >> 63) | Vector128<long>.One;
        return (sum.AsInt64() + (step & isLost & isEven)).AsDouble();
    }
}
