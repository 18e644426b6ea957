// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the function of <see cref="Int4Code"/> reads, by offset. It counts <see cref="Quads"/> and <see cref="Rows"/> down and moves <see cref="Y"/> on.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Int4Arguments
{
    private const long StepBytes = LaneSum.Lanes * Int4Group32.GroupSize / 2;

    /// <summary>Fours of rows that whole steps fill; <see cref="Data"/> and <see cref="Rows"/> are those behind them.</summary>
    public byte* QuadData;
    public long Quads;

    public byte* Data;
    public long RowBytes;
    public byte* Scales;

    /// <summary>Not 0 where all rows begin at the same place of a cache line, not with it, and with a doubleword.</summary>
    public long TakesLines;

    /// <summary>Even columns, and where those of the whole steps end.</summary>
    public byte* X;
    public byte* XEnd;

    /// <summary>Scales of the activations.</summary>
    public float* XScales;

    /// <summary>Bytes from scales to corrections; four times as many lie between even and odd columns.</summary>
    public long CorrectionsAt;

    /// <summary>Result of each row.</summary>
    public float* Y;
    public long Rows;

    /// <summary>Packed bytes of a row's whole steps.</summary>
    public long WholeBytes;

    /// <summary>Bytes of scales of a row behind its whole steps; not 0 where a step follows that the row fills in part.</summary>
    public long RestScaleBytes;
    public Int4RestMasks Rest;

    /// <summary>For at least one row.</summary>
    public Int4Arguments(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        int whole = weight.Columns / (LaneSum.Lanes * Int4Group32.GroupSize);
        RowBytes = Int4Group32.RowBytes(weight.Columns);
        QuadData = weight.Data + (rowBegin * RowBytes);
        Scales = weight.Scales + (sizeof(ushort) * (long)rowBegin * Int4Group32.GroupsPerRow(weight.Columns));
        TakesLines = WholeLines.Pays(QuadData, RowBytes) ? 1 : 0;
        X = (byte*)x.Even;
        XEnd = X + (whole * StepBytes);
        XScales = x.Scales;
        CorrectionsAt = (byte*)x.Corrections - (byte*)x.Scales;
        System.Diagnostics.Debug.Assert((byte*)x.Odd - (byte*)x.Even == 4 * CorrectionsAt, "Functions know one distance only.");
        Y = y;
        WholeBytes = whole * StepBytes;
        Rest = new Int4RestMasks(weight.Columns, whole);
        RestScaleBytes = Rest.ScaleBytes;
        Rows = rowEnd - rowBegin;
        if (whole > 0 && RestScaleBytes == 0)
        {
            (Quads, Rows) = Math.DivRem(Rows, Int4Code.RowsOfQuad);
        }

        Data = QuadData + (Quads * Int4Code.RowsOfQuad * RowBytes);
    }
}
