// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>
/// A view of one linear layer's weight, [rows = out, columns = in] row-major, y = x Wᵀ, in the bytes of the checkpoint's
/// mapping. It owns nothing and checks nothing: whoever makes it has proved that the ranges lie inside a live mapping.
/// Neither pointer needs to be aligned.
/// </summary>
internal readonly unsafe struct WeightMatrix
{
    public WeightMatrix(WeightFormat format, int rows, int columns, byte* data, byte* scales = null, int blockRows = 0, int blockColumns = 0)
    {
        Format = format;
        Rows = rows;
        Columns = columns;
        Data = data;
        Scales = scales;
        BlockRows = blockRows;
        BlockColumns = blockColumns;
    }

    public WeightFormat Format { get; }

    /// <summary>Output features.</summary>
    public int Rows { get; }

    /// <summary>Input features.</summary>
    public int Columns { get; }

    /// <summary>First byte of row 0.</summary>
    public byte* Data { get; }

    /// <summary>INT4: BF16 (rows, groups). FP8: F32 (ceil(rows / BlockRows), ceil(columns / BlockColumns)). Else null.</summary>
    public byte* Scales { get; }

    /// <summary>FP8 only: rows that share a scale.</summary>
    public int BlockRows { get; }

    /// <summary>FP8 only: columns that share a scale.</summary>
    public int BlockColumns { get; }

    public bool IsEmpty => Data == null;

    /// <summary>Bytes from one row to the next.</summary>
    public long RowBytes => Format switch
    {
        WeightFormat.Float32 => 4L * Columns,
        WeightFormat.Float16 or WeightFormat.BFloat16 => 2L * Columns,
        WeightFormat.Float8Block => Columns,
        _ => Int4Group32.RowBytes(Columns),
    };

    /// <summary>Bytes of all weights and scales.</summary>
    public long TotalBytes => (Rows * RowBytes) + Format switch
    {
        WeightFormat.Int4Group32 => 2L * Rows * Int4Group32.GroupsPerRow(Columns),
        WeightFormat.Float8Block => 4L * ((Rows + BlockRows - 1) / BlockRows) * ((Columns + BlockColumns - 1) / BlockColumns),
        _ => 0,
    };

    /// <summary>The rows [first, first + count) as a matrix of their own. For FP8, <paramref name="first"/> must begin a block.</summary>
    public WeightMatrix SliceRows(int first, int count)
    {
        long scaleOffset = Format switch
        {
            WeightFormat.Int4Group32 => 2L * first * Int4Group32.GroupsPerRow(Columns),
            WeightFormat.Float8Block when first % BlockRows == 0 => 4L * (first / BlockRows) * ((Columns + BlockColumns - 1) / BlockColumns),
            WeightFormat.Float8Block => throw new ArgumentException($"Row {first} does not begin an FP8 block of {BlockRows} rows.", nameof(first)),
            _ => 0,
        };
        return new WeightMatrix(Format, count, Columns, Data + (first * RowBytes), Scales + scaleOffset, BlockRows, BlockColumns);
    }
}
