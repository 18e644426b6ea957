// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>A paged cache of random latents in a test bed's memory, laid out as that of a model with so many layers.</summary>
internal sealed unsafe class GpuCache : IDisposable
{
    private readonly GpuBenchSizes _sizes;
    private readonly long _layerStride;
    private readonly CudaDeviceVariable<uint> _table;
    private readonly ulong _address;
    private readonly int _rows;

    /// <param name="bed">Whose memory it is in.</param>
    /// <param name="format">How it holds latents.</param>
    /// <param name="lengths">Tokens that each row sees.</param>
    public GpuCache(GpuTestBed bed, CacheFormat format, int[] lengths)
    {
        (_sizes, _address, _rows) = (bed.Sizes, bed.Pool, lengths.Length);
        int longest = lengths.Max();
        _layerStride = (long)KvPage.Tokens * _sizes.TokenBytes(format);
        Layers = bed.Copies(LayerBytes(_sizes, format, longest));

        // All rows have one page table, which begins at 0.
        uint[] table = [.. lengths.Select(l => (uint)l), .. new uint[_rows], .. Enumerable.Range(0, PagesOf(longest)).Select(p => (uint)p)];
        using var host = new CudaPageLockedHostMemory<uint>(bed.Context, table.Length);
        table.CopyTo(host.Span);
        _table = new CudaDeviceVariable<uint>(bed.Context, table.Length);
        try
        {
            bed.Stream.CopyToDevice(_table.DevicePointer, host.Pointer, host.Length * sizeof(uint));
            bed.Stream.Synchronize();
        }
        catch
        {
            _table.Dispose();
            throw;
        }
    }

    /// <summary>Different caches.</summary>
    public int Layers { get; }

    /// <summary>Bytes of a layer's whole pages.</summary>
    public static long LayerBytes(GpuBenchSizes sizes, CacheFormat format, int tokens) => (long)PagesOf(tokens) * KvPage.Tokens * sizes.TokenBytes(format);

    public CacheArguments Of(int layer) => new()
    {
        Layer = _address + (ulong)(layer * _layerStride),
        Lengths = _table.DevicePointer,
        Tables = _table.DevicePointer + ((ulong)_rows * sizeof(uint)),
        Pages = _table.DevicePointer + (2 * (ulong)_rows * sizeof(uint)),
        PageBytes = (ulong)(Layers * _layerStride),
        Latent = (uint)_sizes.Shape.KeyValueLoraRank,
        Rope = (uint)_sizes.Shape.RopeHeadSize,
    };

    public void Dispose() => _table.Dispose();

    private static int PagesOf(int tokens) => (tokens + KvPage.Tokens - 1) / KvPage.Tokens;
}
