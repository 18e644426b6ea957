// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What there is of a row behind its whole steps of 512 columns, as bits of mask registers.</summary>
internal readonly struct Int4RestMasks(int columns, int wholeSteps)
{
    private const int VectorBytes = 64;
    private const int StepBytes = LaneSum.Lanes * Int4Group32.GroupSize / 2;

    private readonly long _bytes = Int4Group32.RowBytes(columns) - (wholeSteps * StepBytes);
    private readonly int _groups = Int4Group32.GroupsPerRow(columns) - (wholeSteps * LaneSum.Lanes);

    /// <summary>Packed bytes.</summary>
    public long TotalBytes => _bytes;

    /// <summary>Bytes of scales.</summary>
    public long ScaleBytes => sizeof(ushort) * _groups;

    /// <summary>Which of the 16 scales.</summary>
    public ulong Scales => Lowest(_groups);

    /// <summary>Which bytes of vector 0 … 3.</summary>
    public ulong Bytes(int vector) => Lowest(_bytes - (vector * VectorBytes));

    private static ulong Lowest(long bits) => bits <= 0 ? 0 : bits >= 64 ? ulong.MaxValue : (1UL << (int)bits) - 1;
}
