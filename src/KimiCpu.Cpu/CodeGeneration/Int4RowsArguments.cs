// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// What the function of <see cref="Int4RowsCode"/> reads, by offset: more than registers hold in either calling convention.
/// It counts <see cref="Rows"/> down and moves <see cref="Data"/> and <see cref="Y"/> on.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Int4RowsArguments
{
    public byte* Data;
    public long RowBytes;
    public byte* Scales;
    public sbyte* Even;

    /// <summary>Where the even columns of the whole steps end.</summary>
    public sbyte* EvenEnd;
    public sbyte* Odd;
    public float* ActivationScales;

    /// <summary>Bytes from the activations' scales to their corrections.</summary>
    public long CorrectionsAt;
    public float* Y;
    public long Rows;

    /// <summary>Packed bytes of a row's whole steps.</summary>
    public long WholeBytes;

    /// <summary>Packed bytes and bytes of scales of a row behind its whole steps.</summary>
    public long RestBytes;
    public long RestScaleBytes;

    public Int4RestMasks Rest;

    /// <summary>At least one row.</summary>
    public Int4RowsArguments(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        const int StepGroups = LaneSum.Lanes;
        const int StepBytes = StepGroups * Int4Group32.GroupSize / 2;
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        int whole = weight.Columns / (StepGroups * Int4Group32.GroupSize);
        long rowBytes = Int4Group32.RowBytes(weight.Columns);
        Data = weight.Data + (rowBegin * rowBytes);
        RowBytes = rowBytes;
        WholeBytes = whole * StepBytes;
        Scales = weight.Scales + (2L * rowBegin * groups);
        Even = x.Even;
        EvenEnd = x.Even + (whole * StepBytes);
        Odd = x.Odd;
        ActivationScales = x.Scales;
        CorrectionsAt = (byte*)x.Corrections - (byte*)x.Scales;
        Y = y + rowBegin;
        Rows = rowEnd - rowBegin;
        Rest = new Int4RestMasks(weight.Columns, whole);
        RestBytes = Rest.TotalBytes;
        RestScaleBytes = Rest.ScaleBytes;
    }
}
