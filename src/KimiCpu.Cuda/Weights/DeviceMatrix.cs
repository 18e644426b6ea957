// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cuda.Weights;

/// <summary>A weight on the device as kernels take it: Matrix of Kernels/weights.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DeviceMatrix
{
    public ulong Data;

    /// <summary>0 for formats without.</summary>
    public ulong Scales;
    public uint Rows;
    public uint Columns;

    /// <summary>Bytes from row to row, a multiple of 16; what pads a row is zero.</summary>
    public uint Stride;
    public uint ScaleRows;
    public uint ScaleColumns;
    public uint ScalesPerRow;
}
