// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using System.Runtime.Intrinsics;

namespace KimiCpu.Tests.Cuda.Simulation;

internal interface IOperation1<TA, TD>
{
    static abstract TD Run(TA a);
}

internal interface IOperation2<TA, TB, TD>
{
    static abstract TD Run(TA a, TB b);
}

internal interface IOperation3<TA, TB, TC, TD>
{
    static abstract TD Run(TA a, TB b, TC c);
}

/// <summary>One that all lanes can do at once.</summary>
internal interface IVectorOperation2<T> : IOperation2<T, T, T>
{
    static abstract Vector256<T> Run(Vector256<T> a, Vector256<T> b);
}

/// <summary>Operations, lane by lane. Registers of 16 bits lie zero-extended in 32.</summary>
internal static unsafe partial class PtxInstructionSet
{
    private const uint All = uint.MaxValue;

    private static void Run1<TOperation, TA, TD>(PtxInstruction i, PtxWarp w, uint mask)
        where TOperation : struct, IOperation1<TA, TD>
        where TA : unmanaged
        where TD : unmanaged
    {
        TD* d = (TD*)(w.Registers + i.Destinations[0]);
        TA* a = (TA*)(w.Registers + i.Sources[0]);
        if (mask == All)
        {
            for (int l = 0; l < 32; l++)
            {
                d[l] = TOperation.Run(a[l]);
            }

            return;
        }

        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            d[l] = TOperation.Run(a[l]);
        }
    }

    private static void Run2<TOperation, TA, TB, TD>(PtxInstruction i, PtxWarp w, uint mask)
        where TOperation : struct, IOperation2<TA, TB, TD>
        where TA : unmanaged
        where TB : unmanaged
        where TD : unmanaged
    {
        TD* d = (TD*)(w.Registers + i.Destinations[0]);
        TA* a = (TA*)(w.Registers + i.Sources[0]);
        TB* b = (TB*)(w.Registers + i.Sources[1]);
        if (mask == All)
        {
            for (int l = 0; l < 32; l++)
            {
                d[l] = TOperation.Run(a[l], b[l]);
            }

            return;
        }

        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            d[l] = TOperation.Run(a[l], b[l]);
        }
    }

    private static void RunVectors2<TOperation, T>(PtxInstruction i, PtxWarp w, uint mask)
        where TOperation : struct, IVectorOperation2<T>
        where T : unmanaged
    {
        if (mask != All)
        {
            Run2<TOperation, T, T, T>(i, w, mask);
            return;
        }

        T* d = (T*)(w.Registers + i.Destinations[0]);
        T* a = (T*)(w.Registers + i.Sources[0]);
        T* b = (T*)(w.Registers + i.Sources[1]);
        for (int l = 0; l < 32; l += Vector256<T>.Count)
        {
            TOperation.Run(Vector256.Load(a + l), Vector256.Load(b + l)).Store(d + l);
        }
    }

    /// <summary>Single precision, rounded once, as the CPU's own instruction does.</summary>
    private static void RunFusedMultiplyAdd(PtxInstruction i, PtxWarp w, uint mask)
    {
        float* d = (float*)(w.Registers + i.Destinations[0]);
        float* a = (float*)(w.Registers + i.Sources[0]);
        float* b = (float*)(w.Registers + i.Sources[1]);
        float* c = (float*)(w.Registers + i.Sources[2]);
        if (mask == All)
        {
            for (int l = 0; l < 32; l += Vector256<float>.Count)
            {
                Vector256.FusedMultiplyAdd(Vector256.Load(a + l), Vector256.Load(b + l), Vector256.Load(c + l)).Store(d + l);
            }

            return;
        }

        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            d[l] = MathF.FusedMultiplyAdd(a[l], b[l], c[l]);
        }
    }

    private static void Run3<TOperation, TA, TB, TC, TD>(PtxInstruction i, PtxWarp w, uint mask)
        where TOperation : struct, IOperation3<TA, TB, TC, TD>
        where TA : unmanaged
        where TB : unmanaged
        where TC : unmanaged
        where TD : unmanaged
    {
        TD* d = (TD*)(w.Registers + i.Destinations[0]);
        TA* a = (TA*)(w.Registers + i.Sources[0]);
        TB* b = (TB*)(w.Registers + i.Sources[1]);
        TC* c = (TC*)(w.Registers + i.Sources[2]);
        if (mask == All)
        {
            for (int l = 0; l < 32; l++)
            {
                d[l] = TOperation.Run(a[l], b[l], c[l]);
            }

            return;
        }

        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            d[l] = TOperation.Run(a[l], b[l], c[l]);
        }
    }

    private static void RunSelect<T>(PtxInstruction i, PtxWarp w, uint mask)
        where T : unmanaged
    {
        T* d = (T*)(w.Registers + i.Destinations[0]);
        T* a = (T*)(w.Registers + i.Sources[0]);
        T* b = (T*)(w.Registers + i.Sources[1]);
        uint condition = Predicate(i, w, 2);
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            d[l] = (condition >> l & 1) != 0 ? a[l] : b[l];
        }
    }
}
