// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Kernels;

/// <summary>Keys and values of consecutive tokens, keys dense.</summary>
/// <param name="keys">The first key.</param>
/// <param name="values">The first value; of cached latents, which are both, the first key.</param>
/// <param name="valueBytes">From one value to the next.</param>
internal readonly unsafe struct KeyValuePage(byte* keys, byte* values, long valueBytes)
{
    public byte* Keys => keys;

    public byte* Values => values;

    public long ValueBytes => valueBytes;
}
