// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Four rows. With Arm64's dot product the unsigned elements are made signed by taking off 128, which one more dot
/// product with ones makes good; elsewhere products are widened.
/// </summary>
internal readonly unsafe struct TileLanes128 : ITileLanes
{
    public static int Count => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(byte* weights, bool bits8, int row, ushort* scales, byte* x, int xStride, float* sums)
    {
        Vector128<int> dot = Vector128.Create(((int*)(x + (9 * xStride)))[0]);
        Vector128<int> sum = Vector128<int>.Zero;
        for (int q = 0; q < 8; q++)
        {
            Vector128<byte> w = Vector128.Load(weights + (4 * row) + (q * WeightTile.VectorBytes));
            Vector128<sbyte> value = Vector128.Create(((int*)(x + (q * xStride)))[0]).AsSByte();
            if (Dp.IsSupported)
            {
                if (bits8)
                {
                    w ^= Vector128.Create((byte)0x80);
                    sum = Dp.DotProduct(sum, Vector128<sbyte>.One, value);
                }

                dot = Dp.DotProduct(dot, w.AsSByte(), value);
            }
            else
            {
                dot += Dot4(w, value);
            }
        }

        dot += sum << 7;
        Vector128<float> scale = (Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<double>(scales + row)).AsUInt16()) << 16).AsSingle() * ((float*)(x + (8 * xStride)))[0];
        (Vector128.Load(sums) + (Vector128.ConvertToSingle(dot) * scale)).Store(sums);
    }

    /// <summary>Lane i: the sum of the four products of its bytes, each taken from its place in the 32 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Dot4(Vector128<byte> w, Vector128<sbyte> x)
    {
        Vector128<int> wi = w.AsInt32();
        Vector128<int> xi = x.AsInt32();
        Vector128<int> mask = Vector128.Create(255);
        Vector128<int> sum = (wi & mask) * (xi << 24 >> 24);
        sum += (wi >> 8 & mask) * (xi << 16 >> 24);
        sum += (wi >> 16 & mask) * (xi << 8 >> 24);
        return sum + ((wi >>> 24) * (xi >> 24));
    }
}
