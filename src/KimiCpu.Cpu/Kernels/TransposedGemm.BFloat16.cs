// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// BF16 weights for several tokens with AVX2: a vector of stored weights is widened in registers to its even
/// and its odd columns, each of which meets up to six tokens; sums come and go in the order of columns.
/// </summary>
internal static unsafe partial class TransposedGemm
{
    private const int Width = 8;
    private const int MostTokens = 6;

    private static void ColumnPairs(byte* data, long rowBytes, int rows, int columns, float* x, long xStride, int tokens, float* y, long yStride)
    {
        int whole = columns / (2 * Width) * 2 * Width;
        for (int t = 0; t < tokens;)
        {
            int count = new TokenTiles(MostTokens).Next(tokens - t);
            for (int c = 0; c < whole; c += 2 * Width)
            {
                byte* at = data + (2L * c);
                float* source = x + (t * xStride);
                float* target = y + (t * yStride) + c;
                switch (count)
                {
                    case 1:
                        Tile<OneToken>(at, rowBytes, rows, source, xStride, target, yStride);
                        break;
                    case 2:
                        Tile<TwoTokens>(at, rowBytes, rows, source, xStride, target, yStride);
                        break;
                    case 3:
                        Tile<ThreeTokens>(at, rowBytes, rows, source, xStride, target, yStride);
                        break;
                    case 4:
                        Tile<FourTokens>(at, rowBytes, rows, source, xStride, target, yStride);
                        break;
                    case 5:
                        Tile<FiveTokens>(at, rowBytes, rows, source, xStride, target, yStride);
                        break;
                    default:
                        Tile<SixTokens>(at, rowBytes, rows, source, xStride, target, yStride);
                        break;
                }
            }

            for (int end = t + count; t < end; t++)
            {
                Rest<Lanes256, BFloat16Row<Lanes256>>(data, rowBytes, rows, whole, columns, x + (t * xStride), y + (t * yStride));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile<TTokens>(byte* data, long rowBytes, int rows, float* x, long xStride, float* y, long yStride)
        where TTokens : ITokenCount
    {
        float* x3 = x + (3 * xStride);
        Start<TTokens>(0, y, yStride, out Vector256<float> even0, out Vector256<float> odd0);
        Start<TTokens>(1, y, yStride, out Vector256<float> even1, out Vector256<float> odd1);
        Start<TTokens>(2, y, yStride, out Vector256<float> even2, out Vector256<float> odd2);
        Start<TTokens>(3, y, yStride, out Vector256<float> even3, out Vector256<float> odd3);
        Start<TTokens>(4, y, yStride, out Vector256<float> even4, out Vector256<float> odd4);
        Start<TTokens>(5, y, yStride, out Vector256<float> even5, out Vector256<float> odd5);
        for (float* end = x + rows; x < end; x++, x3++, data += rowBytes)
        {
            Vector256<uint> bits = Vector256.Load((uint*)data);
            Vector256<float> even = (bits << 16).AsSingle(), odd = (bits & Vector256.Create(0xFFFF0000u)).AsSingle();
            Add<TTokens>(0, even, odd, x, ref even0, ref odd0);
            Add<TTokens>(1, even, odd, x + xStride, ref even1, ref odd1);
            Add<TTokens>(2, even, odd, x + (2 * xStride), ref even2, ref odd2);
            Add<TTokens>(3, even, odd, x3, ref even3, ref odd3);
            Add<TTokens>(4, even, odd, x3 + xStride, ref even4, ref odd4);
            Add<TTokens>(5, even, odd, x3 + (2 * xStride), ref even5, ref odd5);
        }

        Store<TTokens>(0, y, yStride, even0, odd0);
        Store<TTokens>(1, y, yStride, even1, odd1);
        Store<TTokens>(2, y, yStride, even2, odd2);
        Store<TTokens>(3, y, yStride, even3, odd3);
        Store<TTokens>(4, y, yStride, even4, odd4);
        Store<TTokens>(5, y, yStride, even5, odd5);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Start<TTokens>(int token, float* y, long yStride, out Vector256<float> even, out Vector256<float> odd)
        where TTokens : ITokenCount
    {
        if (token >= TTokens.Count)
        {
            even = odd = Vector256<float>.Zero;
            return;
        }

        y += token * yStride;
        Vector256<float> a = Vector256.Load(y), b = Vector256.Load(y + Width);
        even = Avx2.Permute4x64(Avx.Shuffle(a, b, 0b10_00_10_00).AsDouble(), 0b11_01_10_00).AsSingle();
        odd = Avx2.Permute4x64(Avx.Shuffle(a, b, 0b11_01_11_01).AsDouble(), 0b11_01_10_00).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TTokens>(int token, Vector256<float> weightsEven, Vector256<float> weightsOdd, float* x, ref Vector256<float> even, ref Vector256<float> odd)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            Vector256<float> value = Avx.BroadcastScalarToVector256(x);
            even = Fma.MultiplyAdd(value, weightsEven, even);
            odd = Fma.MultiplyAdd(value, weightsOdd, odd);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTokens>(int token, float* y, long yStride, Vector256<float> even, Vector256<float> odd)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            Vector256<float> low = Avx.UnpackLow(even, odd), high = Avx.UnpackHigh(even, odd);
            Avx.Permute2x128(low, high, 0x20).Store(y + (token * yStride));
            Avx.Permute2x128(low, high, 0x31).Store(y + (token * yStride) + Width);
        }
    }
}
