// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cuda.Weights;

/// <summary>Hands out places of one allocation that is made later, when all of them are known.</summary>
internal sealed class DeviceLayout
{
    /// <summary>What cuMemAlloc aligns to, and more than any load needs.</summary>
    private const long Alignment = 256;

    private readonly List<Action<ulong>> _places = [];

    /// <summary>Bytes so far.</summary>
    public long Bytes { get; private set; }

    /// <returns>Offset of the place.</returns>
    public long Add(long bytes)
    {
        long offset = Bytes;
        Bytes += (bytes + Alignment - 1) / Alignment * Alignment;
        return offset;
    }

    /// <summary>A place for an array of floats.</summary>
    public long AddFloats(long count) => Add(count * sizeof(float));

    /// <summary>A place whose address is set by <see cref="Place"/>.</summary>
    public void Add(long bytes, Action<ulong> set)
    {
        ulong offset = (ulong)Add(bytes);
        _places.Add(address => set(address + offset));
    }

    /// <summary>Called once, when the allocation is made.</summary>
    /// <param name="address">Of the allocation.</param>
    public void Place(ulong address) => _places.ForEach(p => p(address));
}

/// <summary>Neighbouring bytes on the device.</summary>
internal readonly record struct DeviceRange(ulong Address, long Bytes);

/// <summary>A linear weight with its place on the device.</summary>
internal sealed class DeviceWeight
{
    private readonly long _dataOffset;
    private readonly long _scaleOffset;
    private DeviceMatrix _matrix;

    public DeviceWeight(in WeightMatrix source, DeviceFormat format, DeviceLayout layout)
    {
        Source = source;
        Format = format;
        int stride = (source.Columns * format.ValueBytes() + 15) / 16 * 16;
        _matrix = new DeviceMatrix { Rows = (uint)source.Rows, Columns = (uint)source.Columns, Stride = (uint)stride };
        _dataOffset = layout.Add((long)source.Rows * stride);
        if (format is DeviceFormat.Float8 or DeviceFormat.Int8)
        {
            (int rows, int columns) = format == DeviceFormat.Float8 ? (source.BlockRows, source.BlockColumns) : (1, DeviceFormats.Int8Group);
            _matrix.ScaleRows = (uint)rows;
            _matrix.ScaleColumns = (uint)columns;
            _matrix.ScalesPerRow = (uint)((source.Columns + columns - 1) / columns);
            ScaleBytes = (long)((source.Rows + rows - 1) / rows) * _matrix.ScalesPerRow * (format == DeviceFormat.Float8 ? sizeof(float) : sizeof(ushort));
            _scaleOffset = layout.Add(ScaleBytes);
        }
    }

    public WeightMatrix Source { get; }

    public DeviceFormat Format { get; }

    /// <summary>Bytes of all factors.</summary>
    public long ScaleBytes { get; }

    /// <summary>Bytes that a product reads.</summary>
    public long Bytes => ((long)_matrix.Rows * _matrix.Stride) + ScaleBytes;

    public ref readonly DeviceMatrix Matrix => ref _matrix;

    /// <summary>The address behind its last factor, or its last value where it has none.</summary>
    public ulong End => ScaleBytes > 0 ? _matrix.Scales + (ulong)ScaleBytes : _matrix.Data + ((ulong)_matrix.Rows * _matrix.Stride);

    /// <summary>Called once, when the layout's allocation is made.</summary>
    public void Place(ulong address)
    {
        _matrix.Data = address + (ulong)_dataOffset;
        _matrix.Scales = ScaleBytes > 0 ? address + (ulong)_scaleOffset : 0;
    }
}

/// <summary>Floats with their place on the device: norms and biases.</summary>
internal sealed class DeviceVector(float[] source, DeviceLayout layout)
{
    private readonly long _offset = layout.AddFloats(source.Length);

    public float[] Source { get; } = source;

    public ulong Pointer { get; private set; }

    public void Place(ulong address) => Pointer = address + (ulong)_offset;
}
