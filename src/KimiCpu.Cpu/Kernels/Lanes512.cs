// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>16 floats in an AVX-512 register.</summary>
internal readonly unsafe struct Lanes512 : ILanes<Lanes512>
{
    private const float TwoTo120 = 1.329227995784916e36f;

    private readonly Vector512<float> _value;

    public Lanes512(Vector512<float> value) => _value = value;

    public Vector512<float> Value => _value;

    public static int Count => 16;

    public static int Registers => 32;

    public static Lanes512 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector512<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Broadcast(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadBFloat16(ushort* source) =>
        new((Avx512F.ConvertToVector512Int32(Vector256.Load(source)).AsUInt32() << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadFloat8(byte* source)
    {
        Vector512<uint> code = Avx512F.ConvertToVector512Int32(Vector128.Load(source)).AsUInt32();
        Vector512<uint> magnitude = code & Vector512.Create(0x7Fu);
        Vector512<uint> sign = (code & Vector512.Create(0x80u)) << 24;

        // Exponent and mantissa moved into place are 2^-120 times the value, for subnormals too.
        Vector512<float> value = (magnitude << 20).AsSingle() * Vector512.Create(TwoTo120);
        value = Vector512.ConditionalSelect(Vector512.Equals(magnitude, Vector512.Create(0x7Fu)).AsSingle(), Vector512.Create(float.NaN), value);
        return new((value.AsUInt32() | sign).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 EvenBFloat16(Lanes512 bits) => new((bits._value.AsUInt32() << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 OddBFloat16(Lanes512 bits) => new((bits._value.AsUInt32() & Vector512.Create(0xFFFF0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 EvenFloat8(Lanes512 bits) =>
        new((((bits._value.AsInt16() << 8) >> 4).AsUInt16() & Vector512.Create((ushort)0x87F0)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 OddFloat8(Lanes512 bits) =>
        new(((bits._value.AsInt16() >> 4).AsUInt16() & Vector512.Create((ushort)0x87F0)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LargestFloat8(Lanes512 largest, Lanes512 bits) =>
        new(Vector512.Max(largest._value.AsByte(), bits._value.AsByte() | Vector512.Create((byte)0x80)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNaNFloat8(Lanes512 largest) => Vector512.EqualsAny(largest._value.AsByte(), Vector512<byte>.AllBitsSet);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 EvenOf(Lanes512 a, Lanes512 b) => new(Avx512F.PermuteVar16x32x2(a._value, Vector512.Create(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 OddOf(Lanes512 a, Lanes512 b) => new(Avx512F.PermuteVar16x32x2(a._value, Vector512.Create(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 FirstZipped(Lanes512 even, Lanes512 odd) => new(Avx512F.PermuteVar16x32x2(even._value, Vector512.Create(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), odd._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 SecondZipped(Lanes512 even, Lanes512 odd) => new(Avx512F.PermuteVar16x32x2(even._value, Vector512.Create(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), odd._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Lanes512 value, float* target) => value._value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Add(Lanes512 a, Lanes512 b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Subtract(Lanes512 a, Lanes512 b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Multiply(Lanes512 a, Lanes512 b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Max(Lanes512 a, Lanes512 b) => new(Avx512F.Max(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Divide(Lanes512 a, Lanes512 b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Round(Lanes512 x) => new(Avx512F.RoundScale(x._value, 0));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 ScaleByPowerOfTwo(Lanes512 value, Lanes512 power) => new(Avx512F.Scale(value._value, power._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 MultiplyAdd(Lanes512 a, Lanes512 b, Lanes512 c) => new(Avx512F.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes512 value) => LaneSum.Fold(value._value);

    /// <summary>Eight folds by halves at once: 16, 8, 4, 2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Sum8(float* vectors, float* results)
    {
        Vector512<float> a = Halves(vectors);
        Vector512<float> b = Halves(vectors + 32);
        Vector512<float> c = Halves(vectors + 64);
        Vector512<float> d = Halves(vectors + 96);

        // Four floats are left of each vector: one 128-bit lane each, vectors 0 … 3 and 4 … 7.
        Vector512<float> ab = Avx512F.Shuffle4x128(a, b, 0b10_00_10_00) + Avx512F.Shuffle4x128(a, b, 0b11_01_11_01);
        Vector512<float> cd = Avx512F.Shuffle4x128(c, d, 0b10_00_10_00) + Avx512F.Shuffle4x128(c, d, 0b11_01_11_01);
        Vector512<float> pairs = Avx512F.UnpackLow(ab, cd) + Avx512F.UnpackHigh(ab, cd);
        Vector512<float> sums = pairs + Avx512F.Permute4x32(pairs, 0b01_00_11_10);

        // Lane k holds vector k in element 0 and vector 4 + k in element 1.
        Vector512<float> ordered = Avx512F.PermuteVar16x32(sums, Vector512.Create(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0));
        ordered.GetLower().Store(results);
    }

    /// <summary>Lower plus upper halves of two vectors side by side.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Halves(float* two)
    {
        Vector512<float> a = Vector512.Load(two);
        Vector512<float> b = Vector512.Load(two + 16);
        return Avx512F.Shuffle4x128(a, b, 0b01_00_01_00) + Avx512F.Shuffle4x128(a, b, 0b11_10_11_10);
    }
}
