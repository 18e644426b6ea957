// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using System.Runtime.Intrinsics;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>Bits and bytes of integers: logic, shifts and fields.</summary>
internal static unsafe partial class PtxInstructionSet
{
    private readonly struct Not : IOperation1<uint, uint>
    {
        public static uint Run(uint a) => ~a;
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
}
