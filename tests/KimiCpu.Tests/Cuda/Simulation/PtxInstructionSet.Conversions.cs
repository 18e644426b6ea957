// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using KimiCpu.Compute;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>Moves, and values of one format as those of another.</summary>
internal static unsafe partial class PtxInstructionSet
{
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

    private readonly struct SignedLow8 : IOperation1<uint, int>
    {
        public static int Run(uint a) => (sbyte)a;
    }
}
