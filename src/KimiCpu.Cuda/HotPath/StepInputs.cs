// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// What changes from pass to pass: where its rows stand in the cache, their rotations, the flags' base. Written to page-locked memory
/// and copied as one block, so that launches and graphs carry nothing of it.
/// </summary>
internal sealed unsafe class StepInputs : IDisposable
{
    private readonly ModelShape _shape;
    private readonly int _maxRows;
    private readonly long _pagesOffset;
    private readonly long _pagesCapacity;
    private readonly CudaPageLockedHostMemory<byte> _host;
    private readonly CudaDeviceVariable<byte> _device;
    private readonly CudaEvent _copied;
    private readonly long _lengthsOffset;
    private readonly long _tablesOffset;
    private readonly long _notFiniteOffset;
    private readonly long _flagOffset;
    private readonly int _pairs;

    /// <param name="context">The GPU.</param>
    /// <param name="shape">Of the model.</param>
    /// <param name="maxRows">Most tokens of a pass.</param>
    /// <param name="cachePages">Pages of the cache. No sequence has more than its positions take, however many there are.</param>
    public StepInputs(CudaContext context, ModelShape shape, int maxRows, int cachePages)
    {
        _shape = shape;
        _maxRows = maxRows;
        var layout = new DeviceLayout();
        _pairs = shape.RopeHeadSize / 2;

        // Rotations, which are most of a row's bytes, go from here to the front, the first row's last: so a pass copies its own rows' only, and still one block.
        layout.AddFloats((long)maxRows * 2 * _pairs);
        _flagOffset = layout.Add(sizeof(uint));
        _lengthsOffset = layout.Add((long)maxRows * sizeof(uint));
        _tablesOffset = layout.Add((long)maxRows * sizeof(uint));
        _notFiniteOffset = layout.Add((long)maxRows * sizeof(uint));
        _pagesCapacity = (long)maxRows * Math.Min(cachePages, (shape.MaxPositions + KvPage.Tokens - 1) / KvPage.Tokens);
        _pagesOffset = layout.Add(_pagesCapacity * sizeof(uint));
        _host = new CudaPageLockedHostMemory<byte>(context, layout.Bytes);
        try
        {
            _device = new CudaDeviceVariable<byte>(context, layout.Bytes);
            _copied = new CudaEvent(context);
        }
        catch
        {
            _device?.Dispose();
            _host.Dispose();
            throw;
        }
    }

    /// <summary>What the flags of the pass count from.</summary>
    public ulong FlagBase => At(_flagOffset);

    /// <summary>(rows) tokens that each row sees.</summary>
    public ulong Lengths => At(_lengthsOffset);

    /// <summary>(rows) where its page table begins in <see cref="Pages"/>.</summary>
    public ulong Tables => At(_tablesOffset);

    /// <summary>(rows) first layer after which it was not finite; all ones where none was. Kernels write it.</summary>
    public ulong NotFinite => At(_notFiniteOffset);

    /// <summary>Where (rows, 2, rope / 2), cosines, then sines, end; the last row stands first.</summary>
    public ulong Rotations => At(_flagOffset);

    /// <summary>Page tables of all sequences, one behind the other.</summary>
    public ulong Pages => At(_pagesOffset);

    /// <summary>Bytes on the device for a plan.</summary>
    public static long DeviceBytes(ModelShape shape, int maxRows, int maxPages) =>
        (long)maxRows * ((3 * sizeof(uint)) + (shape.RopeHeadSize * sizeof(float)) + (maxPages * (long)sizeof(uint))) + (7 * 256);

    /// <summary>Sends a pass off. Waits where the previous one's copy has not run yet.</summary>
    public void Send(RaggedBatch batch, uint flagBase, CudaStream stream)
    {
        _copied.Synchronize();
        *(uint*)(_host.Pointer + _flagOffset) = flagBase;
        Span<uint> lengths = Host<uint>(_lengthsOffset, _maxRows);
        Span<uint> tables = Host<uint>(_tablesOffset, _maxRows);
        Host<uint>(_notFiniteOffset, _maxRows).Fill(uint.MaxValue);
        int stride = 2 * _pairs * sizeof(float);
        long pages = 0;
        foreach (BatchSequence sequence in batch.Sequences)
        {
            int end = sequence.Start + sequence.RowCount;
            int needed = (end + KvPage.Tokens - 1) / KvPage.Tokens;
            MemoryMarshal.Cast<int, uint>(sequence.Pages.Span[..needed]).CopyTo(Host<uint>(_pagesOffset + (pages * sizeof(uint)), needed));
            for (int i = 0; i < sequence.RowCount; i++)
            {
                int row = sequence.FirstRow + i;
                lengths[row] = (uint)(sequence.Start + i + 1);
                tables[row] = (uint)pages;
                Span<float> rotation = Host<float>(_flagOffset - ((row + 1) * (long)stride), 2 * _pairs);
                _shape.Rotary.Fill(sequence.Start + i, rotation[.._pairs], rotation[_pairs..]);
            }

            pages += needed;
        }

        long begin = _flagOffset - (batch.RowCount * (long)stride);
        stream.CopyToDevice(At(begin), _host.Pointer + begin, _pagesOffset + (pages * sizeof(uint)) - begin);
        _copied.Record(stream);
    }

    public void Dispose()
    {
        _copied.Dispose();
        _device.Dispose();
        _host.Dispose();
    }

    private ulong At(long offset) => _device.DevicePointer + (ulong)offset;

    private Span<T> Host<T>(long offset, int count)
        where T : unmanaged
    {
        if (offset + ((long)count * sizeof(T)) > _host.Length)
        {
            throw new ArgumentException($"The batch's page tables need more than {_pagesCapacity} entries.");
        }

        return new Span<T>(_host.Pointer + offset, count);
    }
}
