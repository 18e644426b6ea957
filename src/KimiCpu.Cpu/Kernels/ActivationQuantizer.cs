// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Rounds a row of activations to int8, symmetric, one scale per 32 columns: scale = max|x| / 127, value = round to
/// nearest even of x / scale. A group of zeros has scale 0; a group with a NaN or an infinity has scale NaN, so that it
/// reaches the result. Groups that pad the row are zeros. All paths give the same bits.
/// </summary>
internal static unsafe class ActivationQuantizer
{
    private const int GroupSize = Int4Group32.GroupSize;
    private const int Half = GroupSize / 2;

    /// <summary>Below it 127 / max|x| overflows; such a group rounds to zero.</summary>
    private const float Smallest = 1e-36f;

    public static void Quantize(float* x, int columns, QuantizedRow row) => Quantize(CpuFeatures.Best, x, columns, row);

    public static void Quantize(InstructionSet set, float* x, int columns, QuantizedRow row) => Quantize(set, x, columns, row, 0);

    /// <summary>Rounds <paramref name="columns"/> values to the groups from <paramref name="group"/> on; those behind become zeros.</summary>
    public static void QuantizeFrom(float* x, int columns, QuantizedRow row, int group) => Quantize(CpuFeatures.Best, x, columns, row, group);

    /// <summary>Rounds 32 values to one group.</summary>
    public static void QuantizeGroup(float* x, QuantizedRow row, int group) => Group(CpuFeatures.Best, x, row, group);

    private static void Quantize(InstructionSet set, float* x, int columns, QuantizedRow row, int first)
    {
        int full = columns / GroupSize;
        for (int g = 0; g < full; g++)
        {
            Group(set, x + (g * GroupSize), row, first + g);
        }

        for (int g = full; g < row.Groups - first; g++)
        {
            GroupScalar(x + (g * GroupSize), Math.Max(0, columns - (g * GroupSize)), row, first + g);
        }
    }

    private static void Group(InstructionSet set, float* x, QuantizedRow row, int g)
    {
        switch (set)
        {
            case InstructionSet.Avx512:
                GroupAvx512(x, row, g);
                break;
            case InstructionSet.Avx2:
                GroupAvx2(x, row, g);
                break;
            case InstructionSet.Vector128:
                GroupVector128(x, row, g);
                break;
            default:
                GroupScalar(x, GroupSize, row, g);
                break;
        }
    }

    private static void GroupScalar(float* x, int count, QuantizedRow row, int g)
    {
        float largest = 0;
        bool finite = true;
        for (int i = 0; i < count; i++)
        {
            largest = Math.Max(largest, Math.Abs(x[i]));
            finite &= float.IsFinite(x[i]);
        }

        (float scale, float inverse) = Scales(largest, finite);
        row.Scales[g] = scale;
        int sum = 0;
        for (int i = 0; i < GroupSize; i++)
        {
            int value = i < count && inverse != 0 ? (int)MathF.Round(x[i] * inverse) : 0;
            sum += value;
            sbyte* target = (i & 1) == 0 ? row.Even : row.Odd;
            target[(g * Half) + (i / 2)] = (sbyte)value;
        }

        row.Corrections[g] = -Int4Group32.Bias * sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (float Scale, float Inverse) Scales(float largest, bool finite) =>
        !finite ? (float.NaN, 0)
        : largest < Smallest ? (0, 0)
        : (largest / 127, 127 / largest);

    private static void Clear(QuantizedRow row, int g)
    {
        Vector128<sbyte>.Zero.Store(row.Even + (g * Half));
        Vector128<sbyte>.Zero.Store(row.Odd + (g * Half));
        row.Corrections[g] = 0;
    }

    /// <summary>32 floats to 32 bytes; then pairs of columns are narrowed to their lower and to their upper byte.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GroupVector128(float* x, QuantizedRow row, int g)
    {
        Vector128<float> magnitude = Vector128<float>.Zero;
        Vector128<float> zeros = Vector128<float>.Zero;
        for (int i = 0; i < GroupSize; i += 4)
        {
            // x - x is 0 for finite values and NaN for all others.
            Vector128<float> value = Vector128.Load(x + i);
            magnitude = Vector128.Max(magnitude, Vector128.Abs(value));
            zeros += value - value;
        }

        bool finite = Vector128.EqualsAll(zeros, Vector128<float>.Zero);
        (float scale, float inverse) = Scales(finite ? Largest(magnitude) : 0, finite);
        row.Scales[g] = scale;
        if (inverse == 0)
        {
            Clear(row, g);
            return;
        }

        Vector128<int> sum = Vector128<int>.Zero;
        Vector128<float> factor = Vector128.Create(inverse);
        Vector128<ushort> low = Round16(x, factor, ref sum).AsUInt16();
        Vector128<ushort> high = Round16(x + 16, factor, ref sum).AsUInt16();
        row.Corrections[g] = -Int4Group32.Bias * Vector128.Sum(sum);
        Vector128<ushort> mask = Vector128.Create((ushort)255);
        Vector128.Narrow(low & mask, high & mask).AsSByte().Store(row.Even + (g * Half));
        Vector128.Narrow(low >> 8, high >> 8).AsSByte().Store(row.Odd + (g * Half));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<sbyte> Round16(float* x, Vector128<float> factor, ref Vector128<int> sum)
    {
        Vector128<int> a = Round(x, factor);
        Vector128<int> b = Round(x + 4, factor);
        Vector128<int> c = Round(x + 8, factor);
        Vector128<int> d = Round(x + 12, factor);
        sum += (a + b) + (c + d);
        return Vector128.Narrow(Vector128.Narrow(a, b), Vector128.Narrow(c, d));
    }

    /// <summary>To the nearest, ties to even; the native conversion is the same for values in range, and these are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Round(float* x, Vector128<float> factor) =>
        Vector128.ConvertToInt32Native(Vector128.Round(Vector128.Load(x) * factor));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Largest(Vector128<float> magnitudes)
    {
        Vector128<float> most = Vector128.Max(magnitudes, Vector128.Shuffle(magnitudes, Vector128.Create(2, 3, 0, 1)));
        return Vector128.Max(most, Vector128.Shuffle(most, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    /// <summary>32 floats: four vectors of 8, packed to bytes, then even bytes to the lower and odd ones to the upper half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GroupAvx2(float* x, QuantizedRow row, int g)
    {
        Vector256<float> a = Vector256.Load(x);
        Vector256<float> b = Vector256.Load(x + 8);
        Vector256<float> c = Vector256.Load(x + 16);
        Vector256<float> d = Vector256.Load(x + 24);
        Vector256<float> magnitude = Vector256.Max(Vector256.Max(Vector256.Abs(a), Vector256.Abs(b)), Vector256.Max(Vector256.Abs(c), Vector256.Abs(d)));

        // x - x is 0 for finite values and NaN for all others.
        Vector256<float> zeros = (a - a) + (b - b) + (c - c) + (d - d);
        bool finite = Vector256.EqualsAll(zeros, Vector256<float>.Zero);
        (float scale, float inverse) = Scales(finite ? Largest(Vector128.Max(magnitude.GetLower(), magnitude.GetUpper())) : 0, finite);
        row.Scales[g] = scale;
        if (inverse == 0)
        {
            Clear(row, g);
            return;
        }

        Vector256<float> factor = Vector256.Create(inverse);
        Vector256<int> ia = Avx.ConvertToVector256Int32(a * factor);
        Vector256<int> ib = Avx.ConvertToVector256Int32(b * factor);
        Vector256<int> ic = Avx.ConvertToVector256Int32(c * factor);
        Vector256<int> id = Avx.ConvertToVector256Int32(d * factor);
        row.Corrections[g] = -Int4Group32.Bias * Vector256.Sum(ia + ib + ic + id);

        // Packing works in 128-bit halves: the bytes come as a0 b0 c0 d0 | a1 b1 c1 d1, four columns each.
        Vector256<sbyte> packed = Avx2.PackSignedSaturate(Avx2.PackSignedSaturate(ia, ib), Avx2.PackSignedSaturate(ic, id));
        packed = Avx2.PermuteVar8x32(packed.AsInt32(), Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7)).AsSByte();
        Split(packed, row, g);
    }

    /// <summary>32 floats: two vectors of 16, each narrowed to its bytes, then even bytes to the lower and odd ones to the upper half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GroupAvx512(float* x, QuantizedRow row, int g)
    {
        Vector512<float> a = Vector512.Load(x);
        Vector512<float> b = Vector512.Load(x + 16);
        Vector512<float> magnitude = Vector512.Max(Vector512.Abs(a), Vector512.Abs(b));
        bool finite = Vector512.EqualsAll((a - a) + (b - b), Vector512<float>.Zero);
        Vector256<float> half = Vector256.Max(magnitude.GetLower(), magnitude.GetUpper());
        (float scale, float inverse) = Scales(finite ? Largest(Vector128.Max(half.GetLower(), half.GetUpper())) : 0, finite);
        row.Scales[g] = scale;
        if (inverse == 0)
        {
            Clear(row, g);
            return;
        }

        Vector512<float> factor = Vector512.Create(inverse);
        Vector512<int> ia = Avx512F.ConvertToVector512Int32(a * factor);
        Vector512<int> ib = Avx512F.ConvertToVector512Int32(b * factor);
        row.Corrections[g] = -Int4Group32.Bias * Vector512.Sum(ia + ib);
        var packed = Vector256.Create(Avx512F.ConvertToVector128SByte(ia), Avx512F.ConvertToVector128SByte(ib));
        Split(packed, row, g);
    }

    /// <summary>The even ones of 32 bytes and the odd ones to their places.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Split(Vector256<sbyte> packed, QuantizedRow row, int g)
    {
        Vector256<sbyte> split = Avx2.Shuffle(packed, Vector256.Create(
            0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,
            0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15).AsSByte());
        split = Avx2.Permute4x64(split.AsInt64(), 0b11_01_10_00).AsSByte();
        split.GetLower().Store(row.Even + (g * Half));
        split.GetUpper().Store(row.Odd + (g * Half));
    }
}
