// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Rows of any format as floats; each value is the stored one, times its scale in single precision.</summary>
internal static unsafe class WeightDecoder
{
    /// <param name="weight">(rows, columns).</param>
    /// <param name="row">Which one.</param>
    /// <param name="values">Receives the first values.Length columns.</param>
    public static void DecodeRow(in WeightMatrix weight, int row, Span<float> values)
    {
        byte* data = weight.Data + (row * weight.RowBytes);
        switch (weight.Format)
        {
            case WeightFormat.Float32:
                new ReadOnlySpan<byte>(data, 4 * values.Length).CopyTo(System.Runtime.InteropServices.MemoryMarshal.AsBytes(values));
                break;
            case WeightFormat.Float16:
                for (int c = 0; c < values.Length; c++)
                {
                    values[c] = (float)Unsafe.ReadUnaligned<Half>(data + (2L * c));
                }

                break;
            case WeightFormat.BFloat16:
                DecodeBFloat16(data, values);
                break;
            case WeightFormat.Float8Block:
                DecodeFloat8(weight, row, data, values);
                break;
            default:
                DecodeInt4(weight, row, data, values);
                break;
        }
    }

    /// <summary>
    /// All columns of a row in another format than BF16, whole steps in the order of <see cref="Arrangement"/>; FP8 without its scales, which products
    /// multiply into the activations.
    /// </summary>
    public static void DecodeArranged<TLanes>(in WeightMatrix weight, int row, float* values)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        if (weight.Format != WeightFormat.Float8Block)
        {
            DecodeRow(weight, row, new Span<float>(values, weight.Columns));
            return;
        }

        int step = Arrangement.Step<TLanes>(weight.Format);
        DecodeCodes<TLanes>(weight.Data + (row * weight.RowBytes), values, weight.Columns);
        Arrangement.Apply<TLanes>(values, values, weight.Columns / step * step, Arrangement.WeightsOfElement(weight.Format));
    }

    /// <summary>BF16 values in a row, as many as there is room for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void DecodeBFloat16(byte* data, Span<float> values)
    {
        int c = 0;
        fixed (float* target = values)
        {
            for (; c + Vector256<ushort>.Count <= values.Length; c += Vector256<ushort>.Count)
            {
                Vector256<ushort> bits = Vector256.Load((ushort*)data + c);
                (Vector256.WidenLower(bits) << 16).AsSingle().Store(target + c);
                (Vector256.WidenUpper(bits) << 16).AsSingle().Store(target + c + Vector256<float>.Count);
            }
        }

        for (; c < values.Length; c++)
        {
            values[c] = BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(data + (2L * c)));
        }
    }

    private static void DecodeFloat8(in WeightMatrix weight, int row, byte* data, Span<float> values)
    {
        switch (CpuFeatures.Best)
        {
            case InstructionSet.Avx512:
                DecodeFloat8<Lanes512>(weight, row, data, values);
                break;
            case InstructionSet.Avx2:
                DecodeFloat8<Lanes256>(weight, row, data, values);
                break;
            case InstructionSet.Vector128:
                DecodeFloat8<Lanes128>(weight, row, data, values);
                break;
            default:
                DecodeFloat8<LanesScalar>(weight, row, data, values);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void DecodeFloat8<TLanes>(in WeightMatrix weight, int row, byte* data, Span<float> values)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int blocks = (weight.Columns + weight.BlockColumns - 1) / weight.BlockColumns;
        byte* scales = weight.Scales + (4L * (row / weight.BlockRows) * blocks);
        fixed (float* target = values)
        {
            for (int start = 0; start < values.Length; start += weight.BlockColumns)
            {
                int end = Math.Min(start + weight.BlockColumns, values.Length);
                float scale = Unsafe.ReadUnaligned<float>(scales + (4L * (start / weight.BlockColumns)));
                int c = start;
                for (; c + TLanes.Count <= end; c += TLanes.Count)
                {
                    TLanes.Store(TLanes.Multiply(TLanes.LoadFloat8(data + c), TLanes.Broadcast(scale)), target + c);
                }

                for (; c < end; c++)
                {
                    target[c] = Float8E4M3.Values[data[c]] * scale;
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void DecodeCodes<TLanes>(byte* data, float* values, int count)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int c = 0;
        for (; c + TLanes.Count <= count; c += TLanes.Count)
        {
            TLanes.Store(TLanes.LoadFloat8(data + c), values + c);
        }

        for (; c < count; c++)
        {
            values[c] = Float8E4M3.Values[data[c]];
        }
    }

    private static void DecodeInt4(in WeightMatrix weight, int row, byte* data, Span<float> values)
    {
        byte* scales = weight.Scales + (2L * row * Int4Group32.GroupsPerRow(weight.Columns));
        for (int start = 0; start < values.Length; start += Int4Group32.GroupSize)
        {
            float scale = BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(scales + (2L * (start / Int4Group32.GroupSize))));
            int end = Math.Min(start + Int4Group32.GroupSize, values.Length);
            for (int c = start; c < end; c++)
            {
                int nibble = (data[c / 2] >> (4 * (c & 1))) & 15;
                values[c] = (nibble - Int4Group32.Bias) * scale;
            }
        }
    }
}
