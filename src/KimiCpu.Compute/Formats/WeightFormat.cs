// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>How the elements of a <see cref="WeightMatrix"/> lie in memory; always the checkpoint's own layout.</summary>
internal enum WeightFormat
{
    /// <summary>IEEE binary32, little-endian.</summary>
    Float32,

    /// <summary>IEEE binary16, little-endian.</summary>
    Float16,

    /// <summary>The upper 16 bits of a binary32, little-endian.</summary>
    BFloat16,

    /// <summary>FP8 e4m3 (no infinities, 0x7F and 0xFF are NaN), one F32 factor per block of <see cref="WeightMatrix.BlockRows"/> x <see cref="WeightMatrix.BlockColumns"/>.</summary>
    Float8Block,

    /// <summary>4-bit integers stored + 8, one BF16 factor per 32 columns of a row; see <see cref="Int4Group32"/>.</summary>
    Int4Group32,
}
