// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// e^x with 512 bits, in single precision throughout: x = n ln 2 + r, e^r by a polynomial of degree 6 whose coefficients are those of Cephes' expf
/// (S. L. Moshier), times 2^n.
/// </summary>
internal static class Exponential
{
    /// <summary>Below, the result is zero all the same, and infinity would leave no remainder.</summary>
    private const float Least = -150;

    /// <summary>e^x for x at most 0 within 2 units in the last place, subnormal results included; a NaN stays one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> OfNegative(Vector512<float> x)
    {
        // Of a NaN and a number, the second operand is returned.
        x = Avx512F.Max(Vector512.Create(Least), x);
        Vector512<float> n = Avx512F.RoundScale(x * Vector512.Create(1.44269504f), 0);
        Vector512<float> r = Avx512F.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        r = Avx512F.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), r);
        Vector512<float> p = Vector512.Create(1.9875691500e-4f);
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(1.3981999507e-3f));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(8.3334519073e-3f));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(4.1665795894e-2f));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(1.6666665459e-1f));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(5.0000001201e-1f));
        p = Avx512F.FusedMultiplyAdd(p, r * r, r) + Vector512<float>.One;
        return Avx512F.Scale(p, n);
    }
}
