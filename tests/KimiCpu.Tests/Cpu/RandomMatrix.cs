// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;

namespace KimiCpu.Tests.Cpu;

/// <summary>A random weight of any format, its bytes ending at a guard page, at an odd address wherever the length allows.</summary>
internal sealed unsafe class RandomMatrix : IDisposable
{
    private readonly GuardedBuffer _data;
    private readonly GuardedBuffer? _scales;

    public RandomMatrix(WeightFormat format, int rows, int columns, int seed, int block = 128)
    {
        var random = new Random(seed);
        var shape = new WeightMatrix(format, rows, columns, null, null, block, block);
        int dataBytes = (int)(rows * shape.RowBytes);
        int scaleBytes = (int)shape.TotalBytes - dataBytes;
        _data = new GuardedBuffer(dataBytes);
        _scales = scaleBytes > 0 ? new GuardedBuffer(scaleBytes) : null;
        Fill(format, random);
        Matrix = new WeightMatrix(format, rows, columns, _data.Pointer, _scales is null ? null : _scales.Pointer, block, block);
    }

    public WeightMatrix Matrix { get; }

    public Span<byte> Data => _data.Span;

    public Span<byte> Scales => _scales!.Span;

    public void Dispose()
    {
        _data.Dispose();
        _scales?.Dispose();
    }

    private void Fill(WeightFormat format, Random random)
    {
        switch (format)
        {
            case WeightFormat.Float32:
                foreach (ref float value in MemoryMarshal.Cast<byte, float>(Data))
                {
                    value = (random.NextSingle() * 2) - 1;
                }

                break;
            case WeightFormat.Float16:
                foreach (ref Half value in MemoryMarshal.Cast<byte, Half>(Data))
                {
                    value = (Half)((random.NextSingle() * 2) - 1);
                }

                break;
            case WeightFormat.BFloat16:
                FillBFloat16(Data, random, 2, 1);
                break;
            case WeightFormat.Float8Block:
                random.NextBytes(Data);
                foreach (ref byte code in Data)
                {
                    // 0x7F and 0xFF are NaN; they have a test of their own.
                    code = (code & 0x7F) == 0x7F ? (byte)0x01 : code;
                }

                foreach (ref float scale in MemoryMarshal.Cast<byte, float>(Scales))
                {
                    scale = (random.NextSingle() + 0.1f) * 0.01f;
                }

                break;
            default:
                random.NextBytes(Data);
                FillBFloat16(Scales, random, 0.02f, -0.001f);
                break;
        }
    }

    private static void FillBFloat16(Span<byte> target, Random random, float range, float below)
    {
        foreach (ref ushort value in MemoryMarshal.Cast<byte, ushort>(target))
        {
            value = BFloat16.FromSingle((random.NextSingle() * range) - below);
        }
    }
}
