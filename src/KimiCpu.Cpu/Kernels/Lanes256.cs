// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>8 floats in an AVX register.</summary>
internal readonly unsafe struct Lanes256 : ILanes<Lanes256>
{
    private const float TwoTo120 = 1.329227995784916e36f;

    private readonly Vector256<float> _value;

    private Lanes256(Vector256<float> value) => _value = value;

    public static int Count => 8;

    public static int Registers => 16;

    public static Lanes256 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Broadcast(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Load(float* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadBFloat16(ushort* source) =>
        new((Avx2.ConvertToVector256Int32(Vector128.Load(source)).AsUInt32() << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadFloat8(byte* source)
    {
        Vector256<uint> code = Avx2.ConvertToVector256Int32(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<ulong>(source)).AsByte()).AsUInt32();
        Vector256<uint> magnitude = code & Vector256.Create(0x7Fu);
        Vector256<uint> sign = (code & Vector256.Create(0x80u)) << 24;

        // Exponent and mantissa moved into place are 2^-120 times the value, for subnormals too.
        Vector256<float> value = (magnitude << 20).AsSingle() * Vector256.Create(TwoTo120);
        value = Vector256.ConditionalSelect(Vector256.Equals(magnitude, Vector256.Create(0x7Fu)).AsSingle(), Vector256.Create(float.NaN), value);
        return new((value.AsUInt32() | sign).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 EvenBFloat16(Lanes256 bits) => new((bits._value.AsUInt32() << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 OddBFloat16(Lanes256 bits) => new((bits._value.AsUInt32() & Vector256.Create(0xFFFF0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 EvenFloat8(Lanes256 bits) =>
        new((((bits._value.AsInt16() << 8) >> 4).AsUInt16() & Vector256.Create((ushort)0x87F0)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 OddFloat8(Lanes256 bits) =>
        new(((bits._value.AsInt16() >> 4).AsUInt16() & Vector256.Create((ushort)0x87F0)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LargestFloat8(Lanes256 largest, Lanes256 bits) =>
        new(Vector256.Max(largest._value.AsByte(), bits._value.AsByte() | Vector256.Create((byte)0x80)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNaNFloat8(Lanes256 largest) => Vector256.EqualsAny(largest._value.AsByte(), Vector256<byte>.AllBitsSet);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 EvenOf(Lanes256 a, Lanes256 b) => new(Avx2.Permute4x64(Avx.Shuffle(a._value, b._value, 0b10_00_10_00).AsDouble(), 0b11_01_10_00).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 OddOf(Lanes256 a, Lanes256 b) => new(Avx2.Permute4x64(Avx.Shuffle(a._value, b._value, 0b11_01_11_01).AsDouble(), 0b11_01_10_00).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 FirstZipped(Lanes256 even, Lanes256 odd) =>
        new(Avx.Permute2x128(Avx.UnpackLow(even._value, odd._value), Avx.UnpackHigh(even._value, odd._value), 0x20));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 SecondZipped(Lanes256 even, Lanes256 odd) =>
        new(Avx.Permute2x128(Avx.UnpackLow(even._value, odd._value), Avx.UnpackHigh(even._value, odd._value), 0x31));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Lanes256 value, float* target) => value._value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Add(Lanes256 a, Lanes256 b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Subtract(Lanes256 a, Lanes256 b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Multiply(Lanes256 a, Lanes256 b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Max(Lanes256 a, Lanes256 b) => new(Avx.Max(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Divide(Lanes256 a, Lanes256 b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Round(Lanes256 x) => new(Avx.RoundToNearestInteger(x._value));

    /// <summary>In two halves, since a power of a subnormal result is none of a number; the first multiplication is exact.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 ScaleByPowerOfTwo(Lanes256 value, Lanes256 power)
    {
        Vector256<int> whole = Avx.ConvertToVector256Int32(power._value);
        Vector256<int> half = whole >> 1;
        return new(value._value * PowerOfTwo(half) * PowerOfTwo(whole - half));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 MultiplyAdd(Lanes256 a, Lanes256 b, Lanes256 c) => new(Fma.MultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes256 value) => Sum(value._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256<float> value)
    {
        Vector128<float> four = value.GetLower() + value.GetUpper();
        Vector128<float> two = four + Vector128.Shuffle(four, Vector128.Create(2, 3, 2, 3));
        return two.GetElement(0) + two.GetElement(1);
    }

    /// <summary>In the order of <see cref="Sum(Vector256{float})"/>: lanes 4 apart, 2 apart, 1 apart.</summary>
    public static void Sum8(float* vectors, float* results)
    {
        Vector256<float> a = Quarters(vectors, 0), b = Quarters(vectors, 1), c = Quarters(vectors, 2), d = Quarters(vectors, 3);
        Vector256<float> ab = Avx.UnpackLow(a.AsDouble(), b.AsDouble()).AsSingle() + Avx.UnpackHigh(a.AsDouble(), b.AsDouble()).AsSingle();
        Vector256<float> cd = Avx.UnpackLow(c.AsDouble(), d.AsDouble()).AsSingle() + Avx.UnpackHigh(c.AsDouble(), d.AsDouble()).AsSingle();
        (Avx.Shuffle(ab, cd, 0b10_00_10_00) + Avx.Shuffle(ab, cd, 0b11_01_11_01)).Store(results);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> PowerOfTwo(Vector256<int> power) => ((power + Vector256.Create(127)) << 23).AsSingle();

    /// <summary>Four sums of vector i in the lower half, of vector i + 4 in the upper.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Quarters(float* vectors, int i)
    {
        Vector256<float> a = Vector256.Load(vectors + (8 * i)), b = Vector256.Load(vectors + (8 * (i + 4)));
        return Avx.Permute2x128(a, b, 0x20) + Avx.Permute2x128(a, b, 0x31);
    }
}
