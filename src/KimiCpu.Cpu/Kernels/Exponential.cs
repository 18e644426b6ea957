// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// e^x in single precision throughout: x = n ln 2 + r, e^r by a polynomial of degree 6 whose coefficients are those of Cephes' expf
/// (S. L. Moshier), times 2^n.
/// </summary>
internal static class Exponential
{
    /// <summary>The largest x. Infinity is the result from 88.8 on.</summary>
    public const float Largest = 150;

    /// <summary>Below, the result is zero all the same, and infinity would leave no remainder.</summary>
    private const float Least = -150;

    /// <summary>e^x for x up to <see cref="Largest"/> within 2 units in the last place, subnormal results included; a NaN stays one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Of<TLanes>(TLanes x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        // Of a NaN and a number, the second operand is returned.
        x = TLanes.Max(TLanes.Broadcast(Least), x);
        TLanes n = TLanes.Round(TLanes.Multiply(x, TLanes.Broadcast(1.44269504f)));
        TLanes r = TLanes.MultiplyAdd(n, TLanes.Broadcast(-0.693359375f), x);
        r = TLanes.MultiplyAdd(n, TLanes.Broadcast(2.12194440e-4f), r);
        TLanes p = TLanes.Broadcast(1.9875691500e-4f);
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(1.3981999507e-3f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(8.3334519073e-3f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(4.1665795894e-2f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(1.6666665459e-1f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(5.0000001201e-1f));
        p = TLanes.Add(TLanes.MultiplyAdd(p, TLanes.Multiply(r, r), r), TLanes.Broadcast(1));
        return TLanes.ScaleByPowerOfTwo(p, n);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Of(Vector512<float> x) => Of(new Lanes512(x)).Value;
}
