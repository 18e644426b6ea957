// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>The inner loops: one or two rows by the tokens of a tile, whose sums stay in registers.</summary>
internal static unsafe partial class BFloat16Gemm
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneRow<TTokens>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums, long odd)
        where TTokens : ITokenCount
    {
        float* end = x + columns;
        float* others = sums + odd;
        Vector256<float> even0 = Start<TTokens>(sums, 0, add), odd0 = Start<TTokens>(others, 0, add);
        Vector256<float> even1 = Start<TTokens>(sums, 1, add), odd1 = Start<TTokens>(others, 1, add);
        Vector256<float> even2 = Start<TTokens>(sums, 2, add), odd2 = Start<TTokens>(others, 2, add);
        Vector256<float> even3 = Start<TTokens>(sums, 3, add), odd3 = Start<TTokens>(others, 3, add);
        Vector256<float> even4 = Start<TTokens>(sums, 4, add), odd4 = Start<TTokens>(others, 4, add);
        Vector256<float> even5 = Start<TTokens>(sums, 5, add), odd5 = Start<TTokens>(others, 5, add);
        for (; x < end; x += 2 * Width, data += 4 * Width)
        {
            Prefetch.Line(data + rowBytes);
            Vector256<uint> bits = Vector256.Load((uint*)data);
            Vector256<float> w = Even(bits);
            Add<TTokens>(0, w, x, ref even0);
            Add<TTokens>(1, w, x, ref even1);
            Add<TTokens>(2, w, x, ref even2);
            Add<TTokens>(3, w, x, ref even3);
            Add<TTokens>(4, w, x, ref even4);
            Add<TTokens>(5, w, x, ref even5);
            w = Odd(bits);
            Add<TTokens>(0, w, x + Width, ref odd0);
            Add<TTokens>(1, w, x + Width, ref odd1);
            Add<TTokens>(2, w, x + Width, ref odd2);
            Add<TTokens>(3, w, x + Width, ref odd3);
            Add<TTokens>(4, w, x + Width, ref odd4);
            Add<TTokens>(5, w, x + Width, ref odd5);
        }

        Store<TTokens>(sums, others, 0, even0, odd0);
        Store<TTokens>(sums, others, 1, even1, odd1);
        Store<TTokens>(sums, others, 2, even2, odd2);
        Store<TTokens>(sums, others, 3, even3, odd3);
        Store<TTokens>(sums, others, 4, even4, odd4);
        Store<TTokens>(sums, others, 5, even5, odd5);
    }

    /// <summary>Up to three tokens: one row's sums would be too few to hide the latency of each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TwoRows<TTokens>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums, long odd)
        where TTokens : ITokenCount
    {
        float* end = x + columns;
        float* others = sums + odd;
        float* sumsB = sums + (TTokens.Count * Width);
        float* othersB = others + (TTokens.Count * Width);
        Vector256<float> even0 = Start<TTokens>(sums, 0, add), odd0 = Start<TTokens>(others, 0, add);
        Vector256<float> even1 = Start<TTokens>(sums, 1, add), odd1 = Start<TTokens>(others, 1, add);
        Vector256<float> even2 = Start<TTokens>(sums, 2, add), odd2 = Start<TTokens>(others, 2, add);
        Vector256<float> evenB0 = Start<TTokens>(sumsB, 0, add), oddB0 = Start<TTokens>(othersB, 0, add);
        Vector256<float> evenB1 = Start<TTokens>(sumsB, 1, add), oddB1 = Start<TTokens>(othersB, 1, add);
        Vector256<float> evenB2 = Start<TTokens>(sumsB, 2, add), oddB2 = Start<TTokens>(othersB, 2, add);
        byte* next = data + (2 * rowBytes);
        for (; x < end; x += 2 * Width, data += 4 * Width, next += 4 * Width)
        {
            Prefetch.Line(next);
            Prefetch.Line(next + rowBytes);
            Vector256<uint> bits = Vector256.Load((uint*)data);
            Vector256<float> w = Even(bits);
            Add<TTokens>(0, w, x, ref even0);
            Add<TTokens>(1, w, x, ref even1);
            Add<TTokens>(2, w, x, ref even2);
            w = Odd(bits);
            Add<TTokens>(0, w, x + Width, ref odd0);
            Add<TTokens>(1, w, x + Width, ref odd1);
            Add<TTokens>(2, w, x + Width, ref odd2);
            bits = Vector256.Load((uint*)(data + rowBytes));
            w = Even(bits);
            Add<TTokens>(0, w, x, ref evenB0);
            Add<TTokens>(1, w, x, ref evenB1);
            Add<TTokens>(2, w, x, ref evenB2);
            w = Odd(bits);
            Add<TTokens>(0, w, x + Width, ref oddB0);
            Add<TTokens>(1, w, x + Width, ref oddB1);
            Add<TTokens>(2, w, x + Width, ref oddB2);
        }

        Store<TTokens>(sums, others, 0, even0, odd0);
        Store<TTokens>(sums, others, 1, even1, odd1);
        Store<TTokens>(sums, others, 2, even2, odd2);
        Store<TTokens>(sumsB, othersB, 0, evenB0, oddB0);
        Store<TTokens>(sumsB, othersB, 1, evenB1, oddB1);
        Store<TTokens>(sumsB, othersB, 2, evenB2, oddB2);
    }

    /// <summary>
    /// Every other column of two rows: each activation is loaded once for both, or loads, two in a cycle at most, would take
    /// longer than multiply-adds. Both halves of the columns at a time need more sums than there are registers.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void HalfOfTwoRows<TTokens, TColumns>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums)
        where TTokens : ITokenCount
        where TColumns : IHalfOfColumns
    {
        float* end = x + columns;
        x += TColumns.First;
        float* sumsB = sums + (TTokens.Count * Width);
        Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default;
        Vector256<float> b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default;
        if (add)
        {
            Load<TTokens>(sums, sumsB, 0, ref a0, ref b0);
            Load<TTokens>(sums, sumsB, 1, ref a1, ref b1);
            Load<TTokens>(sums, sumsB, 2, ref a2, ref b2);
            Load<TTokens>(sums, sumsB, 3, ref a3, ref b3);
            Load<TTokens>(sums, sumsB, 4, ref a4, ref b4);
            Load<TTokens>(sums, sumsB, 5, ref a5, ref b5);
        }

        for (; x < end; x += 2 * Width, data += 4 * Width)
        {
            if (TColumns.AsksForNext)
            {
                Prefetch.Line(data + (2 * rowBytes));
                Prefetch.Line(data + (3 * rowBytes));
            }

            Vector256<float> a = TColumns.Widen(Vector256.Load((uint*)data));
            Vector256<float> b = TColumns.Widen(Vector256.Load((uint*)(data + rowBytes)));
            Add<TTokens>(0, a, b, x, ref a0, ref b0);
            Add<TTokens>(1, a, b, x, ref a1, ref b1);
            Add<TTokens>(2, a, b, x, ref a2, ref b2);
            Add<TTokens>(3, a, b, x, ref a3, ref b3);
            Add<TTokens>(4, a, b, x, ref a4, ref b4);
            Add<TTokens>(5, a, b, x, ref a5, ref b5);
        }

        Store<TTokens>(sums, sumsB, 0, a0, b0);
        Store<TTokens>(sums, sumsB, 1, a1, b1);
        Store<TTokens>(sums, sumsB, 2, a2, b2);
        Store<TTokens>(sums, sumsB, 3, a3, b3);
        Store<TTokens>(sums, sumsB, 4, a4, b4);
        Store<TTokens>(sums, sumsB, 5, a5, b5);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Even(Vector256<uint> bits) => (bits << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Odd(Vector256<uint> bits) => (bits & Vector256.Create(0xFFFF0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Start<TTokens>(float* sums, int token, bool add)
        where TTokens : ITokenCount => token < TTokens.Count && add ? Vector256.Load(sums + (token * Width)) : Vector256<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TTokens>(int token, Vector256<float> w, float* x, ref Vector256<float> sum)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            sum = Fma.MultiplyAdd(w, Vector256.Load(x + (token * PackedStride)), sum);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TTokens>(int token, Vector256<float> a, Vector256<float> b, float* x, ref Vector256<float> sumA, ref Vector256<float> sumB)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            Vector256<float> value = Vector256.Load(x + (token * PackedStride));
            sumA = Fma.MultiplyAdd(a, value, sumA);
            sumB = Fma.MultiplyAdd(b, value, sumB);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<TTokens>(float* sums, float* others, int token, ref Vector256<float> a, ref Vector256<float> b)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            a = Vector256.Load(sums + (token * Width));
            b = Vector256.Load(others + (token * Width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTokens>(float* sums, float* others, int token, Vector256<float> even, Vector256<float> odd)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            even.Store(sums + (token * Width));
            odd.Store(others + (token * Width));
        }
    }

    private interface IHalfOfColumns
    {
        /// <summary>Of packed activations.</summary>
        static abstract int First { get; }

        /// <summary>Whether weights come from memory, so that those of the next rows are asked for: a third of the loop's loads.</summary>
        static abstract bool AsksForNext { get; }

        static abstract Vector256<float> Widen(Vector256<uint> bits);
    }

    private readonly struct EvenColumnsAsking : IHalfOfColumns
    {
        public static int First => 0;

        public static bool AsksForNext => true;

        public static Vector256<float> Widen(Vector256<uint> bits) => Even(bits);
    }

    private readonly struct EvenColumns : IHalfOfColumns
    {
        public static int First => 0;

        public static bool AsksForNext => false;

        public static Vector256<float> Widen(Vector256<uint> bits) => Even(bits);
    }

    private readonly struct OddColumns : IHalfOfColumns
    {
        public static int First => Width;

        public static bool AsksForNext => false;

        public static Vector256<float> Widen(Vector256<uint> bits) => Odd(bits);
    }
}
