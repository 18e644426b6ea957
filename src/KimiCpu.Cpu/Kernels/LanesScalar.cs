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

    public static LanesScalar Zero => default;

    public static LanesScalar Broadcast(float value) => new(value);

    public static LanesScalar Load(float* source) => new(Unsafe.ReadUnaligned<float>(source));

    public static LanesScalar LoadBFloat16(ushort* source) => new(BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(source)));

    public static LanesScalar LoadFloat8(byte* source) => new(Float8E4M3.Values[*source]);

    public static LanesScalar LoadShiftedFloat8(byte* source) => new(Float8E4M3.Values[*source] * MathF.ScaleB(1, -120));

    public static void Store(LanesScalar value, float* target) => Unsafe.WriteUnaligned(target, value._value);

    public static LanesScalar Add(LanesScalar a, LanesScalar b) => new(a._value + b._value);

    public static LanesScalar Multiply(LanesScalar a, LanesScalar b) => new(a._value * b._value);

    public static LanesScalar MultiplyAdd(LanesScalar a, LanesScalar b, LanesScalar c) => new((a._value * b._value) + c._value);

    public static float Sum(LanesScalar value) => value._value;
}
