// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// Owner of the latent cache on the device: one allocation, a page (layers, parts of the <see cref="CacheLayout"/>,
/// <see cref="KvPage.Tokens"/>). In BF16 that is (layers, tokens, kv_lora + rope), as on the CPU.
/// </summary>
internal sealed unsafe class DevicePages : IDisposable
{
    private readonly CudaStream _stream;
    private readonly CudaDeviceVariable<byte> _memory;
    private readonly CudaPageLockedHostMemory<byte> _transfer;
    private readonly CacheLayout _layout;
    private readonly int _layerCount;

    public DevicePages(CudaContext context, CudaStream stream, ModelShape shape, CacheFormat format, int capacity)
    {
        _stream = stream;
        _layout = new CacheLayout(shape, format);
        _layerCount = shape.LayerCount;
        BytesPerPage = _layout.PageBytes;
        Capacity = capacity;
        _transfer = new CudaPageLockedHostMemory<byte>(context, BytesPerPage);
        try
        {
            _memory = new CudaDeviceVariable<byte>(context, BytesPerPage * capacity);
        }
        catch
        {
            _transfer.Dispose();
            throw;
        }
    }

    public CacheFormat Format => _layout.Format;

    public long BytesPerPage { get; }

    /// <summary>Pages.</summary>
    public int Capacity { get; }

    public static long BytesOfPage(ModelShape shape, CacheFormat format) => new CacheLayout(shape, format).PageBytes;

    /// <summary>A layer's part of page 0.</summary>
    public ulong Layer(int layer) => _memory.DevicePointer + (ulong)((long)layer * KvPage.Tokens * _layout.TokenBytes);

    public void Copy(int source, int target) => _stream.Copy(Page(target), Page(source), BytesPerPage);

    /// <summary>Copies the first tokens of a page out, (layers, parts, tokens).</summary>
    public void Read(int page, int tokens, Span<byte> bytes)
    {
        CheckLength(tokens, bytes.Length);
        foreach ((long inPage, long packed, long count) in Pieces(tokens))
        {
            _stream.CopyToHost(_transfer.Pointer + packed, Page(page) + (ulong)inPage, count);
        }

        _stream.Synchronize();
        new ReadOnlySpan<byte>(_transfer.Pointer, bytes.Length).CopyTo(bytes);
    }

    /// <summary>The reverse of <see cref="Read"/>.</summary>
    public void Write(int page, int tokens, ReadOnlySpan<byte> bytes)
    {
        CheckLength(tokens, bytes.Length);
        bytes.CopyTo(new Span<byte>(_transfer.Pointer, bytes.Length));
        foreach ((long inPage, long packed, long count) in Pieces(tokens))
        {
            _stream.CopyToDevice(Page(page) + (ulong)inPage, _transfer.Pointer + packed, count);
        }

        _stream.Synchronize();
    }

    public void Dispose()
    {
        _transfer.Dispose();
        _memory.Dispose();
    }

    private ulong Page(int page) => _memory.DevicePointer + (ulong)(page * BytesPerPage);

    /// <summary>Where the first tokens are in a page, and where without the others. A whole page is one piece.</summary>
    private IEnumerable<(long InPage, long Packed, long Bytes)> Pieces(int tokens)
    {
        if (tokens == KvPage.Tokens)
        {
            yield return (0, 0, BytesPerPage);
            yield break;
        }

        (long inPage, long packed) = (0, 0);
        for (int layer = 0; layer < _layerCount; layer++)
        {
            foreach (int part in _layout.PartBytes)
            {
                yield return (inPage, packed, (long)tokens * part);
                inPage += (long)KvPage.Tokens * part;
                packed += (long)tokens * part;
            }
        }
    }

    private void CheckLength(int tokens, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tokens);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens, KvPage.Tokens);
        ArgumentOutOfRangeException.ThrowIfNotEqual(length, tokens * _layout.TokenBytes * _layerCount);
    }
}
