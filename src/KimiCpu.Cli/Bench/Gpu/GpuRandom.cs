// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>Fills memory of the GPU with random numbers.</summary>
internal static unsafe class GpuRandom
{
    private const long ChunkBytes = 32 << 20;

    /// <summary>
    /// Random bytes, made once and repeated. In every other byte one bit is cleared, which is the exponent's highest in BF16,
    /// binary16 and single precision: all numbers are finite and below 2, whatever a kernel takes the bytes for.
    /// </summary>
    /// <param name="context">The GPU.</param>
    /// <param name="stream">Where to copy.</param>
    /// <param name="address">Of the device.</param>
    /// <param name="bytes">So many.</param>
    public static void Fill(CudaContext context, CudaStream stream, ulong address, long bytes)
    {
        long chunk = Math.Min(bytes, ChunkBytes);
        using var host = new CudaPageLockedHostMemory<byte>(context, chunk);
        new Random(1).NextBytes(host.Span);
        for (long i = 1; i < chunk; i += 2)
        {
            host.Pointer[i] &= 0xBF;
        }

        stream.CopyToDevice(address, host.Pointer, chunk);
        for (long done = chunk; done < bytes; done += chunk)
        {
            stream.Copy(address + (ulong)done, address, Math.Min(chunk, bytes - done));
        }

        stream.Synchronize();
    }
}
