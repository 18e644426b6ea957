// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Activations rounded to int8 in groups of 32 columns, laid out for <see cref="Int4Gemv"/>: a packed weight byte holds an
/// even column in its low and the next odd one in its high nibble, so even and odd columns lie apart and 16 + 16 bytes
/// meet the 16 bytes of a weight group. The last group is padded with zeros.
/// </summary>
internal sealed unsafe class QuantizedRows : IDisposable
{
    private readonly AlignedBuffer<sbyte> _values = new();
    private readonly AlignedBuffer<float> _scales = new();
    private readonly AlignedBuffer<int> _sums = new();

    /// <summary>Groups of a row.</summary>
    public int Groups { get; private set; }

    public int Rows { get; private set; }

    /// <summary>Makes room for rows of so many columns; contents are lost.</summary>
    public void Resize(int rows, int columns)
    {
        Rows = rows;
        Groups = Int4Group32.GroupsPerRow(columns);
        long groups = (long)rows * Groups;
        _values.EnsureCapacity(groups * Int4Group32.GroupSize);
        _scales.EnsureCapacity(groups);
        _sums.EnsureCapacity(groups);
    }

    public QuantizedRow Row(int row) => new(
        _values.Pointer + ((long)row * Groups * Int4Group32.GroupSize),
        _scales.Pointer + ((long)row * Groups),
        _sums.Pointer + ((long)row * Groups),
        Groups);

    public void Dispose()
    {
        _values.Dispose();
        _scales.Dispose();
        _sums.Dispose();
    }
}

/// <summary>One row of <see cref="QuantizedRows"/>.</summary>
internal readonly unsafe struct QuantizedRow(sbyte* values, float* scales, int* sums, int groups)
{
    /// <summary>(groups x 16) even columns.</summary>
    public readonly sbyte* Even = values;

    /// <summary>(groups x 16) odd columns.</summary>
    public readonly sbyte* Odd = values + (groups * (Int4Group32.GroupSize / 2));

    /// <summary>(groups) factor of the rounded values.</summary>
    public readonly float* Scales = scales;

    /// <summary>(groups) Σ of the rounded values: what the stored bias of 8 is multiplied by.</summary>
    public readonly int* Sums = sums;

    public readonly int Groups = groups;
}
