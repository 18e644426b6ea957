// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>One float: the definition that the vectors are tested against.</summary>
internal readonly unsafe struct LanesScalar : ILanes<LanesScalar>
{
    private readonly float _value;

    private LanesScalar(float value) => _value = value;

    public static int Count => 1;

    public static int Registers => 16;

    public static LanesScalar Zero => default;

    public static LanesScalar Broadcast(float value) => new(value);

    public static LanesScalar Load(float* source) => new(Unsafe.ReadUnaligned<float>(source));

    public static LanesScalar LoadBFloat16(ushort* source) => new(BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(source)));

    public static LanesScalar LoadFloat8(byte* source) => new(Float8E4M3.Values[*source]);

    public static LanesScalar EvenBFloat16(LanesScalar bits) => new(BitConverter.UInt32BitsToSingle(Bits(bits) << 16));

    public static LanesScalar OddBFloat16(LanesScalar bits) => new(BitConverter.UInt32BitsToSingle(Bits(bits) & 0xFFFF0000));

    public static LanesScalar EvenFloat8(LanesScalar bits) => Halves((Bits(bits) << 8) & 0xFF00FF00);

    public static LanesScalar OddFloat8(LanesScalar bits) => Halves(Bits(bits) & 0xFF00FF00);

    public static LanesScalar LargestFloat8(LanesScalar largest, LanesScalar bits)
    {
        uint result = 0;
        for (int shift = 0; shift < 32; shift += 8)
        {
            result |= Math.Max((Bits(largest) >> shift) & 0xFF, ((Bits(bits) >> shift) & 0xFF) | 0x80) << shift;
        }

        return new(BitConverter.UInt32BitsToSingle(result));
    }

    public static bool HasNaNFloat8(LanesScalar largest)
    {
        uint bits = Bits(largest);
        return (bits & 0xFF) == 0xFF || (bits >> 8 & 0xFF) == 0xFF || (bits >> 16 & 0xFF) == 0xFF || bits >> 24 == 0xFF;
    }

    public static LanesScalar EvenOf(LanesScalar a, LanesScalar b) => a;

    public static LanesScalar OddOf(LanesScalar a, LanesScalar b) => b;

    public static LanesScalar FirstZipped(LanesScalar even, LanesScalar odd) => even;

    public static LanesScalar SecondZipped(LanesScalar even, LanesScalar odd) => odd;

    public static void Store(LanesScalar value, float* target) => Unsafe.WriteUnaligned(target, value._value);

    public static LanesScalar Add(LanesScalar a, LanesScalar b) => new(a._value + b._value);

    public static LanesScalar Subtract(LanesScalar a, LanesScalar b) => new(a._value - b._value);

    public static LanesScalar Multiply(LanesScalar a, LanesScalar b) => new(a._value * b._value);

    public static LanesScalar Max(LanesScalar a, LanesScalar b) => a._value > b._value ? a : b;

    public static LanesScalar Divide(LanesScalar a, LanesScalar b) => new(a._value / b._value);

    public static LanesScalar Round(LanesScalar x) => new(MathF.Round(x._value));

    public static LanesScalar ScaleByPowerOfTwo(LanesScalar value, LanesScalar power) => new(MathF.ScaleB(value._value, (int)power._value));

    public static LanesScalar MultiplyAdd(LanesScalar a, LanesScalar b, LanesScalar c) => new((a._value * b._value) + c._value);

    public static float Sum(LanesScalar value) => value._value;

    /// <summary>Each half's sign stays, and the seven bits below it move down by four.</summary>
    private static LanesScalar Halves(uint codes) => new(BitConverter.UInt32BitsToSingle((codes & 0x80008000) | ((codes & 0x7F007F00) >> 4)));

    private static uint Bits(LanesScalar value) => BitConverter.SingleToUInt32Bits(value._value);
}
