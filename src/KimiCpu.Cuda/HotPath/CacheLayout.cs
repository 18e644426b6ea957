// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// How a layer's page of the cache lies on the device: parts that hold something of each of its tokens, one behind the other. Kernels/cache.h
/// says why.
/// </summary>
internal sealed class CacheLayout
{
    /// <summary>Columns that share a factor in 8 bits: factor_columns of Kernels/cache.h.</summary>
    private const int FactorColumns = 128;

    public CacheLayout(ModelShape shape, CacheFormat format)
    {
        Format = format;
        PartBytes = format == CacheFormat.BFloat16
            ? [shape.CacheWidth * sizeof(ushort)]
            : [shape.KeyValueLoraRank, shape.RopeHeadSize * sizeof(ushort), (shape.KeyValueLoraRank + FactorColumns - 1) / FactorColumns * sizeof(ushort)];
        TokenBytes = PartBytes.Sum();
        PageBytes = (long)TokenBytes * KvPage.Tokens * shape.LayerCount;
    }

    public CacheFormat Format { get; }

    /// <summary>Bytes of a token in each part: latent and key; or latent, key and factors.</summary>
    public IReadOnlyList<int> PartBytes { get; }

    /// <summary>Bytes of a token in a layer.</summary>
    public int TokenBytes { get; }

    /// <summary>Bytes of a page, all layers.</summary>
    public long PageBytes { get; }
}
