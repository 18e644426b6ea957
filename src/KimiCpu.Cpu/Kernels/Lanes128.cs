// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>4 floats in a 128-bit register of any architecture.</summary>
internal readonly unsafe struct Lanes128 : ILanes<Lanes128>
{
    private const float TwoTo120 = 1.329227995784916e36f;

    private readonly Vector128<float> _value;

    private Lanes128(Vector128<float> value) => _value = value;

    public static int Count => 4;

    public static int Registers
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => AdvSimd.IsSupported ? 32 : 16;
    }

    public static Lanes128 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector128<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Broadcast(float value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Load(float* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadBFloat16(ushort* source) =>
        new((Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<double>(source)).AsUInt16()) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadFloat8(byte* source)
    {
        Vector128<uint> code = Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<float>(source)).AsByte()));
        Vector128<uint> magnitude = code & Vector128.Create(0x7Fu);
        Vector128<uint> sign = (code & Vector128.Create(0x80u)) << 24;

        // Exponent and mantissa moved into place are 2^-120 times the value, for subnormals too.
        Vector128<float> value = (magnitude << 20).AsSingle() * Vector128.Create(TwoTo120);
        value = Vector128.ConditionalSelect(Vector128.Equals(magnitude, Vector128.Create(0x7Fu)).AsSingle(), Vector128.Create(float.NaN), value);
        return new((value.AsUInt32() | sign).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 EvenBFloat16(Lanes128 bits) => new((bits._value.AsUInt32() << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 OddBFloat16(Lanes128 bits) => new((bits._value.AsUInt32() & Vector128.Create(0xFFFF0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 EvenFloat8(Lanes128 bits) =>
        new((((bits._value.AsInt16() << 8) >> 4).AsUInt16() & Vector128.Create((ushort)0x87F0)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 OddFloat8(Lanes128 bits) =>
        new(((bits._value.AsInt16() >> 4).AsUInt16() & Vector128.Create((ushort)0x87F0)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LargestFloat8(Lanes128 largest, Lanes128 bits) =>
        new(Vector128.Max(largest._value.AsByte(), bits._value.AsByte() | Vector128.Create((byte)0x80)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNaNFloat8(Lanes128 largest) => Vector128.EqualsAny(largest._value.AsByte(), Vector128<byte>.AllBitsSet);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 EvenOf(Lanes128 a, Lanes128 b) =>
        new(Sse.IsSupported ? Sse.Shuffle(a._value, b._value, 0b10_00_10_00)
            : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.UnzipEven(a._value, b._value)
            : Vector128.Create(a._value[0], a._value[2], b._value[0], b._value[2]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 OddOf(Lanes128 a, Lanes128 b) =>
        new(Sse.IsSupported ? Sse.Shuffle(a._value, b._value, 0b11_01_11_01)
            : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.UnzipOdd(a._value, b._value)
            : Vector128.Create(a._value[1], a._value[3], b._value[1], b._value[3]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 FirstZipped(Lanes128 even, Lanes128 odd) =>
        new(Sse.IsSupported ? Sse.UnpackLow(even._value, odd._value)
            : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(even._value, odd._value)
            : Vector128.Create(even._value[0], odd._value[0], even._value[1], odd._value[1]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 SecondZipped(Lanes128 even, Lanes128 odd) =>
        new(Sse.IsSupported ? Sse.UnpackHigh(even._value, odd._value)
            : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(even._value, odd._value)
            : Vector128.Create(even._value[2], odd._value[2], even._value[3], odd._value[3]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Lanes128 value, float* target) => value._value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Add(Lanes128 a, Lanes128 b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Subtract(Lanes128 a, Lanes128 b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Multiply(Lanes128 a, Lanes128 b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Max(Lanes128 a, Lanes128 b) => new(Sse.IsSupported ? Sse.Max(a._value, b._value) : Vector128.ConditionalSelect(Vector128.GreaterThan(a._value, b._value), a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Divide(Lanes128 a, Lanes128 b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Round(Lanes128 x) => new(Vector128.Round(x._value));

    /// <summary>In two halves, as <see cref="Lanes256.ScaleByPowerOfTwo"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 ScaleByPowerOfTwo(Lanes128 value, Lanes128 power)
    {
        Vector128<int> whole = Vector128.ConvertToInt32Native(power._value);
        Vector128<int> half = whole >> 1;
        return new(value._value * PowerOfTwo(half) * PowerOfTwo(whole - half));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 MultiplyAdd(Lanes128 a, Lanes128 b, Lanes128 c) => new(Vector128.MultiplyAddEstimate(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes128 value) => Vector128.Sum(value._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> PowerOfTwo(Vector128<int> power) => ((power + Vector128.Create(127)) << 23).AsSingle();
}
