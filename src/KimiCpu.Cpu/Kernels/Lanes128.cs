// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KimiCpu.Cpu.Kernels;

/// <summary>4 floats in a 128-bit register of any architecture.</summary>
internal readonly unsafe struct Lanes128 : ILanes<Lanes128>
{
    private const float TwoTo120 = 1.329227995784916e36f;

    private readonly Vector128<float> _value;

    private Lanes128(Vector128<float> value) => _value = value;

    public static int Count => 4;

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
    public static Lanes128 LoadShiftedFloat8(byte* source)
    {
        Vector128<int> code = Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<float>(source)).AsSByte()));
        return new(((code.AsUInt32() << 20) & Vector128.Create(0x87FFFFFFu)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Lanes128 value, float* target) => value._value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Add(Lanes128 a, Lanes128 b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Multiply(Lanes128 a, Lanes128 b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 MultiplyAdd(Lanes128 a, Lanes128 b, Lanes128 c) => new(Vector128.MultiplyAddEstimate(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes128 value) => Vector128.Sum(value._value);
}
