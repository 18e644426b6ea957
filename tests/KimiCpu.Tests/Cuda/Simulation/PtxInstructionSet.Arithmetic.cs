// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using System.Runtime.Intrinsics;
using KimiCpu.Compute;

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

internal interface IComparison<T>
{
    /// <summary>All ones where it is true.</summary>
    static abstract Vector256<T> Run(Vector256<T> a, Vector256<T> b);
}

/// <summary>Arithmetic, lane by lane. Registers of 16 bits lie zero-extended in 32.</summary>
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

    /// <summary>mov.b32 between registers, from two halves, or into two halves.</summary>
    private static void MoveOrSplit(PtxInstruction i, PtxWarp w, uint mask)
    {
        uint* a = (uint*)(w.Registers + i.Sources[0]);
        uint* d = (uint*)(w.Registers + i.Destinations[0]);
        for (; mask != 0; mask &= mask - 1)
        {
            int l = BitOperations.TrailingZeroCount(mask);
            if (i.Destinations.Length == 2)
            {
                uint value = a[l];
                d[l] = value & 0xFFFF;
                ((uint*)(w.Registers + i.Destinations[1]))[l] = value >> 16;
            }
            else if (i.Sources.Length == 2)
            {
                d[l] = (a[l] & 0xFFFF) | (((uint*)(w.Registers + i.Sources[1]))[l] << 16);
            }
            else
            {
                d[l] = a[l];
            }
        }
    }

    private readonly struct Same<T> : IOperation1<T, T>
    {
        public static T Run(T a) => a;
    }

    private readonly struct Narrow : IOperation1<ulong, uint>
    {
        public static uint Run(ulong a) => (uint)a;
    }

    private readonly struct Widen : IOperation1<uint, ulong>
    {
        public static ulong Run(uint a) => a;
    }

    private readonly struct Low16 : IOperation1<uint, uint>
    {
        public static uint Run(uint a) => (ushort)a;
    }

    private readonly struct SignedToFloat : IOperation1<int, float>
    {
        public static float Run(int a) => a;
    }

    /// <summary>Ties to even; NaN gives 0, and what is out of range the nearest integer there is.</summary>
    private readonly struct FloatToNearest : IOperation1<float, int>
    {
        public static int Run(float a) => float.IsNaN(a) ? 0 : (int)Math.Clamp(Math.Round((double)a, MidpointRounding.ToEven), int.MinValue, int.MaxValue);
    }

    private readonly struct AbsoluteFloat : IOperation1<float, float>
    {
        public static float Run(float a) => MathF.Abs(a);
    }

    private readonly struct UnsignedToFloat : IOperation1<uint, float>
    {
        public static float Run(uint a) => a;
    }

    private readonly struct Signed16ToFloat : IOperation1<uint, float>
    {
        public static float Run(uint a) => (short)a;
    }

    private readonly struct FloatToHalf : IOperation1<float, uint>
    {
        // The GPU has one NaN.
        public static uint Run(float a) => float.IsNaN(a) ? 0x7FFFu : BitConverter.HalfToUInt16Bits((Half)a);
    }

    private readonly struct HalfToFloat : IOperation1<uint, float>
    {
        public static float Run(uint a) => (float)BitConverter.UInt16BitsToHalf((ushort)a);
    }

    private readonly struct FloatToBFloat16 : IOperation1<float, uint>
    {
        // The GPU has one NaN.
        public static uint Run(float a) => float.IsNaN(a) ? 0x7FFFu : BFloat16.FromSingle(a);
    }

    private readonly struct WidenLow16 : IOperation1<uint, ulong>
    {
        public static ulong Run(uint a) => (ushort)a;
    }

    /// <summary>The first operand goes to the upper half.</summary>
    private readonly struct FloatsToBFloat16Pair : IOperation2<float, float, uint>
    {
        public static uint Run(float a, float b) => (FloatToBFloat16.Run(a) << 16) | FloatToBFloat16.Run(b);
    }

    /// <summary>Halves of their own, each rounded once; subnormal numbers are kept.</summary>
    private readonly struct FusedMultiplyAddBFloat16Pair : IOperation3<uint, uint, uint, uint>
    {
        public static uint Run(uint a, uint b, uint c) =>
            FloatsToBFloat16Pair.Run(Exact(a & 0xFFFF0000, b & 0xFFFF0000, c & 0xFFFF0000), Exact(a << 16, b << 16, c << 16));

        /// <summary>Not rounded on the way to 8 bits: what single precision would round is a fault, since that would be a second rounding.</summary>
        private static float Exact(uint a, uint b, uint c)
        {
            double sum = Math.FusedMultiplyAdd(BitConverter.UInt32BitsToSingle(a), BitConverter.UInt32BitsToSingle(b), BitConverter.UInt32BitsToSingle(c));
            return double.IsNaN(sum) || (float)sum == sum ? (float)sum : throw new PtxFault("fma.rn.bf16x2: a sum that needs a rounding of its own");
        }
    }

    private readonly struct NegateInteger : IOperation1<uint, uint>
    {
        public static uint Run(uint a) => 0 - a;
    }

    private readonly struct Not : IOperation1<uint, uint>
    {
        public static uint Run(uint a) => ~a;
    }

    private readonly struct NegateFloat : IOperation1<float, float>
    {
        public static float Run(float a) => -a;
    }

    private readonly struct Exp2 : IOperation1<float, float>
    {
        public static float Run(float a) => (float)Math.Pow(2, a);
    }

    /// <summary>Subnormal numbers, in and out, are zeros.</summary>
    private readonly struct Exp2Flushed : IOperation1<float, float>
    {
        public static float Run(float a) => Flush(Exp2.Run(Flush(a)));

        private static float Flush(float value) => float.IsSubnormal(value) ? MathF.CopySign(0, value) : value;
    }

    private readonly struct Log2 : IOperation1<float, float>
    {
        public static float Run(float a) => (float)Math.Log2(a);
    }

    private readonly struct InverseRoot : IOperation1<float, float>
    {
        public static float Run(float a) => (float)(1 / Math.Sqrt(a));
    }

    private readonly struct Add<T> : IVectorOperation2<T>
        where T : IAdditionOperators<T, T, T>
    {
        public static T Run(T a, T b) => unchecked(a + b);

        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => a + b;
    }

    private readonly struct Subtract<T> : IVectorOperation2<T>
        where T : ISubtractionOperators<T, T, T>
    {
        public static T Run(T a, T b) => unchecked(a - b);

        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => a - b;
    }

    private readonly struct Multiply<T> : IVectorOperation2<T>
        where T : IMultiplyOperators<T, T, T>
    {
        public static T Run(T a, T b) => unchecked(a * b);

        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => a * b;
    }

    private readonly struct DivideFloat : IOperation2<float, float, float>
    {
        public static float Run(float a, float b) => a / b;
    }

    private readonly struct High32 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => (uint)(((ulong)a * b) >> 32);
    }

    private readonly struct MultiplyAdd : IOperation3<uint, uint, uint, uint>
    {
        public static uint Run(uint a, uint b, uint c) => (a * b) + c;
    }

    private readonly struct Wide32 : IOperation2<uint, uint, ulong>
    {
        public static ulong Run(uint a, uint b) => (ulong)a * b;
    }

    private readonly struct Wide16 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => (uint)(ushort)a * (ushort)b;
    }

    private readonly struct DivideUnsigned : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => b == 0 ? throw new PtxFault("division by zero") : a / b;
    }

    /// <summary>So many bits of a value from a place on.</summary>
    private readonly struct ExtractBits : IOperation3<uint, uint, uint, uint>
    {
        public static uint Run(uint a, uint b, uint c) => (byte)b > 31 || (byte)c == 0 ? 0 : (a >> (byte)b) & (uint)((1UL << Math.Min(32, (int)(byte)c)) - 1);
    }

    /// <summary>Filled with the field's highest bit; where the field ends behind the register, with the register's.</summary>
    private readonly struct ExtractSigned : IOperation3<int, uint, uint, int>
    {
        public static int Run(int a, uint b, uint c)
        {
            int position = (byte)b, length = (byte)c;
            return length == 0 ? 0 : (int)((long)a << (64 - Math.Min(64, position + length)) >> (64 - Math.Min(64, position + length)) >> Math.Min(63, position));
        }
    }

    private readonly struct ShiftRightSigned : IOperation2<int, uint, int>
    {
        public static int Run(int a, uint b) => a >> (int)Math.Min(31, b);
    }

    private readonly struct SignedLow8 : IOperation1<uint, int>
    {
        public static int Run(uint a) => (sbyte)a;
    }

    private readonly struct Minimum : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => Math.Min(a, b);
    }

    private readonly struct Maximum : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => Math.Max(a, b);
    }

    private readonly struct MinimumSigned : IOperation2<int, int, int>
    {
        public static int Run(int a, int b) => Math.Min(a, b);
    }

    private readonly struct MaximumSigned : IOperation2<int, int, int>
    {
        public static int Run(int a, int b) => Math.Max(a, b);
    }

    /// <summary>Of a NaN and a number it is the number.</summary>
    private readonly struct MaximumFloat : IOperation2<float, float, float>
    {
        public static float Run(float a, float b) => float.MaxNumber(a, b);
    }

    private readonly struct Add16 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => (ushort)(a + b);
    }

    private readonly struct Subtract16 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => (ushort)(a - b);
    }

    private readonly struct Multiply16 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => (ushort)((uint)(ushort)a * (ushort)b);
    }

    private readonly struct High16 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => ((uint)(ushort)a * (ushort)b) >> 16;
    }

    private readonly struct And<T> : IVectorOperation2<T>
        where T : IBitwiseOperators<T, T, T>
    {
        public static T Run(T a, T b) => a & b;

        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => a & b;
    }

    private readonly struct Or<T> : IVectorOperation2<T>
        where T : IBitwiseOperators<T, T, T>
    {
        public static T Run(T a, T b) => a | b;

        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => a | b;
    }

    private readonly struct Xor<T> : IVectorOperation2<T>
        where T : IBitwiseOperators<T, T, T>
    {
        public static T Run(T a, T b) => a ^ b;

        public static Vector256<T> Run(Vector256<T> a, Vector256<T> b) => a ^ b;
    }

    // Counts beyond the width shift everything out.
    private readonly struct ShiftLeft : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => b > 31 ? 0 : a << (int)b;
    }

    private readonly struct ShiftRight : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => b > 31 ? 0 : a >> (int)b;
    }

    private readonly struct ShiftLeft64 : IOperation2<ulong, uint, ulong>
    {
        public static ulong Run(ulong a, uint b) => b > 63 ? 0 : a << (int)b;
    }

    private readonly struct ShiftRight64 : IOperation2<ulong, uint, ulong>
    {
        public static ulong Run(ulong a, uint b) => b > 63 ? 0 : a >> (int)b;
    }

    private readonly struct ShiftLeft16 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => b > 15 ? 0u : (ushort)(a << (int)b);
    }

    private readonly struct ShiftRight16 : IOperation2<uint, uint, uint>
    {
        public static uint Run(uint a, uint b) => b > 15 ? 0u : (uint)(ushort)a >> (int)b;
    }

    /// <summary>c plus the products of unsigned with signed bytes.</summary>
    private readonly struct DotBytes : IOperation3<uint, uint, int, int>
    {
        public static int Run(uint a, uint b, int c)
        {
            for (int i = 0; i < 32; i += 8)
            {
                c += (byte)(a >> i) * (sbyte)(b >> i);
            }

            return c;
        }
    }

    private readonly struct PickBytes : IOperation3<uint, uint, uint, uint>
    {
        public static uint Run(uint a, uint b, uint c)
        {
            ulong bytes = ((ulong)b << 32) | a;
            uint result = 0;
            for (int i = 0; i < 4; i++)
            {
                uint selector = c >> (4 * i) & 15;
                uint value = (byte)(bytes >> (int)(8 * (selector & 7)));
                result |= ((selector & 8) == 0 ? value : (value & 0x80) != 0 ? 0xFFu : 0) << (8 * i);
            }

            return result;
        }
    }

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
