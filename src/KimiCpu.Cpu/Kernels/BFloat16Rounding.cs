// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Many floats to BF16 at once, as <see cref="BFloat16.FromSingle"/> rounds one.</summary>
internal static unsafe class BFloat16Rounding
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Round(float* source, int count, ushort* target)
    {
        int i = 0;
        if (Avx512F.IsSupported)
        {
            for (; i + Vector512<float>.Count <= count; i += Vector512<float>.Count)
            {
                Avx512F.ConvertToVector256UInt16(UpperHalves(Vector512.Load(source + i)) >> 16).Store(target + i);
            }
        }

        if (Avx2.IsSupported)
        {
            for (; i + Vector256<ushort>.Count <= count; i += Vector256<ushort>.Count)
            {
                Vector256<ushort> packed = Avx2.PackUnsignedSaturate(Rounded(source + i), Rounded(source + i + Vector256<float>.Count));
                Avx2.Permute4x64(packed.AsUInt64(), 0b11_01_10_00).AsUInt16().Store(target + i);
            }
        }

        for (; i < count; i++)
        {
            target[i] = BFloat16.FromSingle(source[i]);
        }
    }

    /// <summary>Rounded floats in the upper halves; what is left in the lower ones does not belong to them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<uint> UpperHalves(Vector512<float> value)
    {
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> rounded = bits + Vector512.Create(0x7FFFu) + ((bits >> 16) & Vector512<uint>.One);
        Vector512<uint> isNumber = Vector512.Equals(value, value).AsUInt32();
        return Vector512.ConditionalSelect(isNumber, rounded, bits | Vector512.Create(0x40u << 16));
    }

    private static Vector256<int> Rounded(float* source)
    {
        Vector256<float> value = Vector256.Load(source);
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> rounded = bits + Vector256.Create(0x7FFFu) + ((bits >> 16) & Vector256<uint>.One);
        Vector256<uint> isNumber = Vector256.Equals(value, value).AsUInt32();
        return (Vector256.ConditionalSelect(isNumber, rounded, bits | Vector256.Create(0x40u << 16)) >> 16).AsInt32();
    }
}
