// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>The inner loops: some rows by the tokens of a tile, whose sums stay in registers.</summary>
internal static unsafe partial class BFloat16Gemm
{
    private const int MostRowsTogether = 4;

    /// <summary>Rows that are multiplied together: 2 or <see cref="MostRowsTogether"/>, so that two at a time are there or not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int RowsTogether<TLanes>()
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Registers / 8;

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneRow<TLanes, TTokens>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums, long odd)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        float* end = x + columns;
        float* others = sums + odd;
        TLanes even0 = Start<TLanes, TTokens>(sums, 0, add), odd0 = Start<TLanes, TTokens>(others, 0, add);
        TLanes even1 = Start<TLanes, TTokens>(sums, 1, add), odd1 = Start<TLanes, TTokens>(others, 1, add);
        TLanes even2 = Start<TLanes, TTokens>(sums, 2, add), odd2 = Start<TLanes, TTokens>(others, 2, add);
        TLanes even3 = Start<TLanes, TTokens>(sums, 3, add), odd3 = Start<TLanes, TTokens>(others, 3, add);
        TLanes even4 = Start<TLanes, TTokens>(sums, 4, add), odd4 = Start<TLanes, TTokens>(others, 4, add);
        TLanes even5 = Start<TLanes, TTokens>(sums, 5, add), odd5 = Start<TLanes, TTokens>(others, 5, add);
        for (; x < end; x += 2 * TLanes.Count, data += 4 * TLanes.Count)
        {
            Prefetch.Line(data + rowBytes);
            TLanes bits = TLanes.Load((float*)data);
            TLanes w = TLanes.EvenBFloat16(bits);
            Add<TLanes, TTokens>(0, w, x, ref even0);
            Add<TLanes, TTokens>(1, w, x, ref even1);
            Add<TLanes, TTokens>(2, w, x, ref even2);
            Add<TLanes, TTokens>(3, w, x, ref even3);
            Add<TLanes, TTokens>(4, w, x, ref even4);
            Add<TLanes, TTokens>(5, w, x, ref even5);
            w = TLanes.OddBFloat16(bits);
            Add<TLanes, TTokens>(0, w, x + TLanes.Count, ref odd0);
            Add<TLanes, TTokens>(1, w, x + TLanes.Count, ref odd1);
            Add<TLanes, TTokens>(2, w, x + TLanes.Count, ref odd2);
            Add<TLanes, TTokens>(3, w, x + TLanes.Count, ref odd3);
            Add<TLanes, TTokens>(4, w, x + TLanes.Count, ref odd4);
            Add<TLanes, TTokens>(5, w, x + TLanes.Count, ref odd5);
        }

        Store<TLanes, TTokens>(0, 0, sums, others, even0, odd0);
        Store<TLanes, TTokens>(0, 1, sums, others, even1, odd1);
        Store<TLanes, TTokens>(0, 2, sums, others, even2, odd2);
        Store<TLanes, TTokens>(0, 3, sums, others, even3, odd3);
        Store<TLanes, TTokens>(0, 4, sums, others, even4, odd4);
        Store<TLanes, TTokens>(0, 5, sums, others, even5, odd5);
    }

    /// <summary>Up to three tokens: one row's sums would be too few to hide the latency of each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void SomeRows<TLanes, TTokens>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums, long odd)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        float* end = x + columns;
        float* others = sums + odd;
        int rowSums = TTokens.Count * TLanes.Count;
        TLanes evenA0 = default, oddA0 = default;
        TLanes evenA1 = default, oddA1 = default;
        TLanes evenA2 = default, oddA2 = default;
        TLanes evenB0 = default, oddB0 = default;
        TLanes evenB1 = default, oddB1 = default;
        TLanes evenB2 = default, oddB2 = default;
        TLanes evenC0 = default, oddC0 = default;
        TLanes evenC1 = default, oddC1 = default;
        TLanes evenC2 = default, oddC2 = default;
        TLanes evenD0 = default, oddD0 = default;
        TLanes evenD1 = default, oddD1 = default;
        TLanes evenD2 = default, oddD2 = default;
        if (add)
        {
            Load<TLanes, TTokens>(0, 0, sums, others, ref evenA0, ref oddA0);
            Load<TLanes, TTokens>(0, 1, sums, others, ref evenA1, ref oddA1);
            Load<TLanes, TTokens>(0, 2, sums, others, ref evenA2, ref oddA2);
            Load<TLanes, TTokens>(1, 0, sums + rowSums, others + rowSums, ref evenB0, ref oddB0);
            Load<TLanes, TTokens>(1, 1, sums + rowSums, others + rowSums, ref evenB1, ref oddB1);
            Load<TLanes, TTokens>(1, 2, sums + rowSums, others + rowSums, ref evenB2, ref oddB2);
            Load<TLanes, TTokens>(2, 0, sums + (2 * rowSums), others + (2 * rowSums), ref evenC0, ref oddC0);
            Load<TLanes, TTokens>(2, 1, sums + (2 * rowSums), others + (2 * rowSums), ref evenC1, ref oddC1);
            Load<TLanes, TTokens>(2, 2, sums + (2 * rowSums), others + (2 * rowSums), ref evenC2, ref oddC2);
            Load<TLanes, TTokens>(3, 0, sums + (3 * rowSums), others + (3 * rowSums), ref evenD0, ref oddD0);
            Load<TLanes, TTokens>(3, 1, sums + (3 * rowSums), others + (3 * rowSums), ref evenD1, ref oddD1);
            Load<TLanes, TTokens>(3, 2, sums + (3 * rowSums), others + (3 * rowSums), ref evenD2, ref oddD2);
        }

        byte* next = data + (RowsTogether<TLanes>() * rowBytes);
        for (; x < end; x += 2 * TLanes.Count, data += 4 * TLanes.Count, next += 4 * TLanes.Count)
        {
            Add<TLanes, TTokens>(0, data, next, x, ref evenA0, ref oddA0, ref evenA1, ref oddA1, ref evenA2, ref oddA2);
            Add<TLanes, TTokens>(1, data + rowBytes, next + rowBytes, x, ref evenB0, ref oddB0, ref evenB1, ref oddB1, ref evenB2, ref oddB2);
            Add<TLanes, TTokens>(2, data + (2 * rowBytes), next + (2 * rowBytes), x, ref evenC0, ref oddC0, ref evenC1, ref oddC1, ref evenC2, ref oddC2);
            Add<TLanes, TTokens>(3, data + (3 * rowBytes), next + (3 * rowBytes), x, ref evenD0, ref oddD0, ref evenD1, ref oddD1, ref evenD2, ref oddD2);
        }

        Store<TLanes, TTokens>(0, 0, sums, others, evenA0, oddA0);
        Store<TLanes, TTokens>(0, 1, sums, others, evenA1, oddA1);
        Store<TLanes, TTokens>(0, 2, sums, others, evenA2, oddA2);
        Store<TLanes, TTokens>(1, 0, sums + rowSums, others + rowSums, evenB0, oddB0);
        Store<TLanes, TTokens>(1, 1, sums + rowSums, others + rowSums, evenB1, oddB1);
        Store<TLanes, TTokens>(1, 2, sums + rowSums, others + rowSums, evenB2, oddB2);
        Store<TLanes, TTokens>(2, 0, sums + (2 * rowSums), others + (2 * rowSums), evenC0, oddC0);
        Store<TLanes, TTokens>(2, 1, sums + (2 * rowSums), others + (2 * rowSums), evenC1, oddC1);
        Store<TLanes, TTokens>(2, 2, sums + (2 * rowSums), others + (2 * rowSums), evenC2, oddC2);
        Store<TLanes, TTokens>(3, 0, sums + (3 * rowSums), others + (3 * rowSums), evenD0, oddD0);
        Store<TLanes, TTokens>(3, 1, sums + (3 * rowSums), others + (3 * rowSums), evenD1, oddD1);
        Store<TLanes, TTokens>(3, 2, sums + (3 * rowSums), others + (3 * rowSums), evenD2, oddD2);
    }

    /// <summary>
    /// Every other column of some rows: each activation is loaded once for all of them, or loads, two in a cycle at most, would take
    /// longer than multiply-adds. Both halves of the columns at a time need more sums than there are registers.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void HalfOfRows<TLanes, TTokens, TColumns>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
        where TColumns : IHalfOfColumns<TLanes>
    {
        float* end = x + columns;
        x += TColumns.First;
        int rowSums = TTokens.Count * TLanes.Count;
        TLanes a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default;
        TLanes b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default;
        TLanes c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default;
        TLanes d0 = default, d1 = default, d2 = default, d3 = default, d4 = default, d5 = default;
        if (add)
        {
            LoadRows<TLanes, TTokens>(0, sums, rowSums, ref a0, ref b0, ref c0, ref d0);
            LoadRows<TLanes, TTokens>(1, sums, rowSums, ref a1, ref b1, ref c1, ref d1);
            LoadRows<TLanes, TTokens>(2, sums, rowSums, ref a2, ref b2, ref c2, ref d2);
            LoadRows<TLanes, TTokens>(3, sums, rowSums, ref a3, ref b3, ref c3, ref d3);
            LoadRows<TLanes, TTokens>(4, sums, rowSums, ref a4, ref b4, ref c4, ref d4);
            LoadRows<TLanes, TTokens>(5, sums, rowSums, ref a5, ref b5, ref c5, ref d5);
        }

        for (; x < end; x += 2 * TLanes.Count, data += 4 * TLanes.Count)
        {
            TLanes a = Row<TLanes, TColumns>(0, data, rowBytes), b = Row<TLanes, TColumns>(1, data, rowBytes);
            TLanes c = Row<TLanes, TColumns>(2, data, rowBytes), d = Row<TLanes, TColumns>(3, data, rowBytes);
            Add<TLanes, TTokens>(0, a, b, c, d, x, ref a0, ref b0, ref c0, ref d0);
            Add<TLanes, TTokens>(1, a, b, c, d, x, ref a1, ref b1, ref c1, ref d1);
            Add<TLanes, TTokens>(2, a, b, c, d, x, ref a2, ref b2, ref c2, ref d2);
            Add<TLanes, TTokens>(3, a, b, c, d, x, ref a3, ref b3, ref c3, ref d3);
            Add<TLanes, TTokens>(4, a, b, c, d, x, ref a4, ref b4, ref c4, ref d4);
            Add<TLanes, TTokens>(5, a, b, c, d, x, ref a5, ref b5, ref c5, ref d5);
        }

        StoreRows<TLanes, TTokens>(0, sums, rowSums, a0, b0, c0, d0);
        StoreRows<TLanes, TTokens>(1, sums, rowSums, a1, b1, c1, d1);
        StoreRows<TLanes, TTokens>(2, sums, rowSums, a2, b2, c2, d2);
        StoreRows<TLanes, TTokens>(3, sums, rowSums, a3, b3, c3, d3);
        StoreRows<TLanes, TTokens>(4, sums, rowSums, a4, b4, c4, d4);
        StoreRows<TLanes, TTokens>(5, sums, rowSums, a5, b5, c5, d5);
    }

    /// <summary>A half of a vector of columns of one of the rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Row<TLanes, TColumns>(int row, byte* data, long rowBytes)
        where TLanes : unmanaged, ILanes<TLanes>
        where TColumns : IHalfOfColumns<TLanes>
    {
        if (row >= RowsTogether<TLanes>())
        {
            return default;
        }

        data += row * rowBytes;
        if (TColumns.AsksForNext)
        {
            Prefetch.Line(data + (RowsTogether<TLanes>() * rowBytes));
        }

        return TColumns.Widen(TLanes.Load((float*)data));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Start<TLanes, TTokens>(float* sums, int token, bool add)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount => token < TTokens.Count && add ? TLanes.Load(sums + (token * TLanes.Count)) : TLanes.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TLanes, TTokens>(int token, TLanes w, float* x, ref TLanes sum)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            sum = TLanes.MultiplyAdd(w, TLanes.Load(x + (token * PackedStride)), sum);
        }
    }

    /// <summary>Both halves of a vector of columns of one of the rows, for up to three tokens.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TLanes, TTokens>(
        int row, byte* data, byte* next, float* x, ref TLanes even0, ref TLanes odd0, ref TLanes even1, ref TLanes odd1, ref TLanes even2, ref TLanes odd2)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        if (row < RowsTogether<TLanes>())
        {
            Prefetch.Line(next);
            TLanes bits = TLanes.Load((float*)data);
            TLanes w = TLanes.EvenBFloat16(bits);
            Add<TLanes, TTokens>(0, w, x, ref even0);
            Add<TLanes, TTokens>(1, w, x, ref even1);
            Add<TLanes, TTokens>(2, w, x, ref even2);
            w = TLanes.OddBFloat16(bits);
            Add<TLanes, TTokens>(0, w, x + TLanes.Count, ref odd0);
            Add<TLanes, TTokens>(1, w, x + TLanes.Count, ref odd1);
            Add<TLanes, TTokens>(2, w, x + TLanes.Count, ref odd2);
        }
    }

    /// <summary>A token with all rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TLanes, TTokens>(int token, TLanes a, TLanes b, TLanes c, TLanes d, float* x, ref TLanes sumA, ref TLanes sumB, ref TLanes sumC, ref TLanes sumD)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            TLanes value = TLanes.Load(x + (token * PackedStride));
            sumA = TLanes.MultiplyAdd(a, value, sumA);
            sumB = TLanes.MultiplyAdd(b, value, sumB);
            if (RowsTogether<TLanes>() == MostRowsTogether)
            {
                sumC = TLanes.MultiplyAdd(c, value, sumC);
                sumD = TLanes.MultiplyAdd(d, value, sumD);
            }
        }
    }

    /// <summary>Two sums of a token: both halves of a row's, or those of two rows from that one on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<TLanes, TTokens>(int row, int token, float* first, float* second, ref TLanes a, ref TLanes b)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count && row < RowsTogether<TLanes>())
        {
            a = TLanes.Load(first + (token * TLanes.Count));
            b = TLanes.Load(second + (token * TLanes.Count));
        }
    }

    /// <summary>A token's sums of all rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows<TLanes, TTokens>(int token, float* sums, int rowSums, ref TLanes a, ref TLanes b, ref TLanes c, ref TLanes d)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        Load<TLanes, TTokens>(0, token, sums, sums + rowSums, ref a, ref b);
        Load<TLanes, TTokens>(2, token, sums + (2 * rowSums), sums + (3 * rowSums), ref c, ref d);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TLanes, TTokens>(int row, int token, float* first, float* second, TLanes a, TLanes b)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count && row < RowsTogether<TLanes>())
        {
            TLanes.Store(a, first + (token * TLanes.Count));
            TLanes.Store(b, second + (token * TLanes.Count));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRows<TLanes, TTokens>(int token, float* sums, int rowSums, TLanes a, TLanes b, TLanes c, TLanes d)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        Store<TLanes, TTokens>(0, token, sums, sums + rowSums, a, b);
        Store<TLanes, TTokens>(2, token, sums + (2 * rowSums), sums + (3 * rowSums), c, d);
    }

    private interface IHalfOfColumns<TLanes>
    {
        /// <summary>Of packed activations.</summary>
        static abstract int First { get; }

        /// <summary>Whether weights come from memory, so that those of the next rows are asked for: a third of the loop's loads.</summary>
        static abstract bool AsksForNext { get; }

        static abstract TLanes Widen(TLanes bits);
    }

    private readonly struct EvenColumnsAsking<TLanes> : IHalfOfColumns<TLanes>
        where TLanes : unmanaged, ILanes<TLanes>
    {
        public static int First => 0;

        public static bool AsksForNext => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TLanes Widen(TLanes bits) => TLanes.EvenBFloat16(bits);
    }

    private readonly struct EvenColumns<TLanes> : IHalfOfColumns<TLanes>
        where TLanes : unmanaged, ILanes<TLanes>
    {
        public static int First => 0;

        public static bool AsksForNext => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TLanes Widen(TLanes bits) => TLanes.EvenBFloat16(bits);
    }

    private readonly struct OddColumns<TLanes> : IHalfOfColumns<TLanes>
        where TLanes : unmanaged, ILanes<TLanes>
    {
        public static int First => TLanes.Count;

        public static bool AsksForNext => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TLanes Widen(TLanes bits) => TLanes.OddBFloat16(bits);
    }
}
