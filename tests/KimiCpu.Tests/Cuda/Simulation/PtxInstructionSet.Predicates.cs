// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;

namespace KimiCpu.Tests.Cuda.Simulation;

internal interface IComparison<T>
{
    /// <summary>All ones where it is true.</summary>
    static abstract Vector256<T> Run(Vector256<T> a, Vector256<T> b);
}

/// <summary>Comparisons, and what is done with their results: a bit for each lane.</summary>
internal static unsafe partial class PtxInstructionSet
{
    private static void RunComparison<TOperation, T>(PtxInstruction i, PtxWarp w, uint mask)
        where TOperation : struct, IComparison<T>
        where T : unmanaged
    {
        T* a = (T*)(w.Registers + i.Sources[0]);
        T* b = (T*)(w.Registers + i.Sources[1]);
        uint result = 0;
        for (int l = 0; l < 32; l += Vector256<T>.Count)
        {
            result |= TOperation.Run(Vector256.Load(a + l), Vector256.Load(b + l)).ExtractMostSignificantBits() << l;
        }

        SetPredicate(i, w, mask, result);
    }

    private static uint Predicate(PtxInstruction i, PtxWarp w, int source) => *(uint*)(w.Registers + i.Sources[source]);

    private static void SetPredicate(PtxInstruction i, PtxWarp w, uint mask, uint value)
    {
        uint* d = (uint*)(w.Registers + i.Destinations[0]);
        *d = (*d & ~mask) | (value & mask);
    }

    private static void MovePredicate(PtxInstruction i, PtxWarp w, uint mask) => SetPredicate(i, w, mask, Predicate(i, w, 0));

    private static void NotPredicate(PtxInstruction i, PtxWarp w, uint mask) => SetPredicate(i, w, mask, ~Predicate(i, w, 0));

    private static void AndPredicate(PtxInstruction i, PtxWarp w, uint mask) => SetPredicate(i, w, mask, Predicate(i, w, 0) & Predicate(i, w, 1));

    private static void OrPredicate(PtxInstruction i, PtxWarp w, uint mask) => SetPredicate(i, w, mask, Predicate(i, w, 0) | Predicate(i, w, 1));

    private readonly struct Equal<T> : IComparison<T>
    {
        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => Vector256.Equals(a, b);
    }

    private readonly struct NotEqual<T> : IComparison<T>
    {
        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => ~Vector256.Equals(a, b);
    }

    private readonly struct Less<T> : IComparison<T>
    {
        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => Vector256.LessThan(a, b);
    }

    private readonly struct LessOrEqual<T> : IComparison<T>
    {
        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => Vector256.LessThanOrEqual(a, b);
    }

    private readonly struct Greater<T> : IComparison<T>
    {
        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => Vector256.GreaterThan(a, b);
    }

    private readonly struct GreaterOrEqual<T> : IComparison<T>
    {
        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => Vector256.GreaterThanOrEqual(a, b);
    }

    // "u": true for NaN too.
    private readonly struct NotGreater : IComparison<float>
    {
        public static Vector256<float> Run(Vector256<float> a, Vector256<float> b) => ~Vector256.GreaterThan(a, b);
    }

    private readonly struct NotLess : IComparison<float>
    {
        public static Vector256<float> Run(Vector256<float> a, Vector256<float> b) => ~Vector256.LessThan(a, b);
    }

    private readonly struct EitherNaN : IComparison<float>
    {
        public static Vector256<float> Run(Vector256<float> a, Vector256<float> b) => ~(Vector256.Equals(a, a) & Vector256.Equals(b, b));
    }
}
