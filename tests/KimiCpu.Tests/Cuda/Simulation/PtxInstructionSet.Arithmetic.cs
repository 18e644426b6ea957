// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using System.Runtime.Intrinsics;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>Arithmetic, of integers and floating-point numbers.</summary>
internal static unsafe partial class PtxInstructionSet
{
    private readonly struct AbsoluteFloat : IOperation1<float, float>
    {
        public static float Run(float a) => MathF.Abs(a);
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
}
