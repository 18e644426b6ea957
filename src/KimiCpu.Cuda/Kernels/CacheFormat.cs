// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Kernels;

/// <summary>How the GPU's cache holds latents. Their rotated keys are BF16 in either.</summary>
internal enum CacheFormat
{
    /// <summary>As the CPU's cache does.</summary>
    BFloat16,

    /// <summary>Signed bytes, with a binary16 factor for 128 columns of a token.</summary>
    Int8,
}
