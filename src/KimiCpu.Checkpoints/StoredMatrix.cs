// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>How a linear layer's weight is stored.</summary>
internal enum StoredFormat
{
    Float32,
    Float16,
    BFloat16,

    /// <summary>e4m3 with one F32 factor a block.</summary>
    Float8Block,

    /// <summary>compressed-tensors <c>pack-quantized</c>, symmetric, groups of 32 columns.</summary>
    Int4Group32,
}

/// <summary>The tensors that make up one linear layer's weight (rows = out, columns = in), types and shapes checked.</summary>
internal readonly record struct StoredMatrix(StoredFormat Format, int Rows, int Columns, TensorEntry Data, TensorEntry? Scales, int BlockRows, int BlockColumns)
{
    /// <summary>Bytes of weights and scales.</summary>
    public long Bytes => Data.Length + (Scales?.Length ?? 0);
}
