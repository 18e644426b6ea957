// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// Owner of the latent cache on the device: one allocation, a page (layers, <see cref="KvPage.Tokens"/>, kv_lora + rope) in BF16,
/// as on the CPU.
/// </summary>
internal sealed unsafe class DevicePages : IDisposable
{
    private readonly CudaStream _stream;
    private readonly CudaDeviceVariable<byte> _memory;
    private readonly CudaPageLockedHostMemory<byte> _transfer;
    private readonly int _slotBytes;
    private readonly int _layerCount;

    public DevicePages(CudaContext context, CudaStream stream, ModelShape shape, int capacity)
    {
        _stream = stream;
        _slotBytes = SlotBytes(shape);
        _layerCount = shape.LayerCount;
        BytesPerPage = BytesOfPage(shape);
        Capacity = capacity;
        _memory = new CudaDeviceVariable<byte>(context, BytesPerPage * capacity);
        try
        {
            _transfer = new CudaPageLockedHostMemory<byte>(context, BytesPerPage);
        }
        catch
        {
            _memory.Dispose();
            throw;
        }
    }

    public long BytesPerPage { get; }

    /// <summary>Pages.</summary>
    public int Capacity { get; }

    public static long BytesOfPage(ModelShape shape) => (long)SlotBytes(shape) * KvPage.Tokens * shape.LayerCount;

    /// <summary>The slots of a layer in page 0.</summary>
    public ulong Layer(int layer) => _memory.DevicePointer + (ulong)((long)layer * KvPage.Tokens * _slotBytes);

    public void Copy(int source, int target) => _stream.Copy(Page(target), Page(source), BytesPerPage);

    /// <summary>Copies the first tokens of a page out, (layers, tokens, kv_lora + rope).</summary>
    public void Read(int page, int tokens, Span<byte> bytes)
    {
        int layerBytes = CheckedLayerBytes(tokens, bytes.Length);
        for (int layer = 0; layer < _layerCount; layer++)
        {
            _stream.CopyToHost(_transfer.Pointer + ((long)layer * layerBytes), Slots(page, layer), layerBytes);
        }

        _stream.Synchronize();
        new ReadOnlySpan<byte>(_transfer.Pointer, bytes.Length).CopyTo(bytes);
    }

    /// <summary>The reverse of <see cref="Read"/>.</summary>
    public void Write(int page, int tokens, ReadOnlySpan<byte> bytes)
    {
        int layerBytes = CheckedLayerBytes(tokens, bytes.Length);
        bytes.CopyTo(new Span<byte>(_transfer.Pointer, bytes.Length));
        for (int layer = 0; layer < _layerCount; layer++)
        {
            _stream.CopyToDevice(Slots(page, layer), _transfer.Pointer + ((long)layer * layerBytes), layerBytes);
        }

        _stream.Synchronize();
    }

    public void Dispose()
    {
        _transfer.Dispose();
        _memory.Dispose();
    }

    private static int SlotBytes(ModelShape shape) => shape.CacheWidth * sizeof(ushort);

    private ulong Page(int page) => _memory.DevicePointer + (ulong)(page * BytesPerPage);

    private ulong Slots(int page, int layer) => Layer(layer) + (ulong)(page * BytesPerPage);

    private int CheckedLayerBytes(int tokens, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tokens);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens, KvPage.Tokens);
        ArgumentOutOfRangeException.ThrowIfNotEqual(length, tokens * _slotBytes * _layerCount);
        return tokens * _slotBytes;
    }
}
