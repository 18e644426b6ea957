// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Activations rounded to int8 in groups of 32 columns, laid out for <see cref="Int4Gemv"/>: a packed weight byte holds an
/// even column in its low and the next odd one in its high nibble, so even and odd columns lie apart and 16 + 16 bytes
/// meet the 16 bytes of a weight group. Rows are padded with zeros to whole blocks of 16 groups.
/// </summary>
internal sealed unsafe class QuantizedRows : IDisposable
{
    /// <summary>Per group: 32 values, a scale and a correction.</summary>
    private const int GroupBytes = Int4Group32.GroupSize + sizeof(float) + sizeof(int);

    private readonly AlignedBuffer<byte> _records = new();
    private int _paddedGroups;

    public int Columns { get; private set; }

    public int Rows { get; private set; }

    /// <summary>Makes room for rows of so many columns; contents are lost.</summary>
    public void Resize(int rows, int columns)
    {
        Rows = rows;
        Columns = columns;
        _paddedGroups = LaneSum.BlocksOf(columns) * LaneSum.Lanes;
        _records.EnsureCapacity((long)rows * _paddedGroups * GroupBytes);
    }

    public QuantizedRow Row(int row) => new(_records.Pointer + ((long)row * _paddedGroups * GroupBytes), _paddedGroups);

    public void Dispose() => _records.Dispose();
}

/// <summary>One row of <see cref="QuantizedRows"/>; G is its padded number of groups, a multiple of 16.</summary>
internal readonly unsafe struct QuantizedRow(byte* record, int groups)
{
    /// <summary>(G x 16) even columns.</summary>
    public readonly sbyte* Even = (sbyte*)record;

    /// <summary>(G x 16) odd columns.</summary>
    public readonly sbyte* Odd = (sbyte*)record + (16L * groups);

    /// <summary>(G) factor of the rounded values.</summary>
    public readonly float* Scales = (float*)(record + (32L * groups));

    /// <summary>(G) -8 Σ of the rounded values: takes off what the stored bias of 8 adds to a group's sum of products.</summary>
    public readonly int* Corrections = (int*)(record + (36L * groups));

    public readonly int Groups = groups;
}
