// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cuda.Weights;

/// <summary>How the values of a weight lie on the device.</summary>
internal enum DeviceFormat
{
    /// <summary>Binary32; for stored formats that have no kernel of their own. Exact.</summary>
    Float32,

    /// <summary>As stored.</summary>
    BFloat16,

    /// <summary>e4m3 with a binary32 factor a block, as stored.</summary>
    Float8,

    /// <summary>Signed bytes made when the model opens, a binary16 factor for 128 columns of a row.</summary>
    Int8,
}

internal static class DeviceFormats
{
    /// <summary>Columns that share a factor in <see cref="DeviceFormat.Int8"/>.</summary>
    public const int Int8Group = 128;

    /// <summary>Kernels take one factor for 16 neighbouring columns.</summary>
    private const int FactorColumns = 16;

    /// <summary>The format that keeps a stored weight exactly.</summary>
    public static DeviceFormat Exact(in WeightMatrix weight) => weight.Format switch
    {
        WeightFormat.BFloat16 => DeviceFormat.BFloat16,
        WeightFormat.Float8Block when weight.BlockColumns % FactorColumns == 0 => DeviceFormat.Float8,
        _ => DeviceFormat.Float32,
    };

    /// <summary>The smallest format: what takes 8 bits stays as it is.</summary>
    public static DeviceFormat Small(in WeightMatrix weight) =>
        Exact(weight) == DeviceFormat.Float8 ? DeviceFormat.Float8 : DeviceFormat.Int8;

    /// <summary>Bytes of a value, factors apart.</summary>
    public static int ValueBytes(this DeviceFormat format) => format switch
    {
        DeviceFormat.Float32 => sizeof(float),
        DeviceFormat.BFloat16 => sizeof(ushort),
        _ => 1,
    };
}
