// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Many floats to BF16 at once, as <see cref="BFloat16.FromSingle"/> rounds one.</summary>
internal static unsafe class BFloat16Rounding
{
    public static void Round(float* source, int count, ushort* target)
    {
        int i = 0;
        if (Avx512F.IsSupported)
        {
            for (; i + Vector512<float>.Count <= count; i += Vector512<float>.Count)
            {
                Vector512<float> value = Vector512.Load(source + i);
                Vector512<uint> bits = value.AsUInt32();
                Vector512<uint> rounded = bits + Vector512.Create(0x7FFFu) + ((bits >> 16) & Vector512<uint>.One);
                Vector512<uint> isNumber = Vector512.Equals(value, value).AsUInt32();
                rounded = Vector512.ConditionalSelect(isNumber, rounded, bits | Vector512.Create(0x40u << 16));
                Avx512F.ConvertToVector256UInt16(rounded >> 16).Store(target + i);
            }
        }

        for (; i < count; i++)
        {
            target[i] = BFloat16.FromSingle(source[i]);
        }
    }
}
