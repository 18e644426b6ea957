// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// A weight of the hot path: as stored, or as a copy in tiles of 8 bits, which then replaces it. Holds the copy's memory,
/// so that it lives as long as anybody can read it.
/// </summary>
internal readonly unsafe struct HotMatrix(WeightMatrix stored, AlignedBuffer<byte>? copy = null, long offset = 0)
{
    public readonly WeightMatrix Stored = stored;
    private readonly AlignedBuffer<byte>? _copy = copy;
    private readonly long _offset = offset;

    /// <summary>Tiles of 32 rows each; null where the stored weight is used.</summary>
    public byte* Tiles => _copy is null ? null : _copy.Pointer + _offset;

    public int Rows => Stored.Rows;

    public int Columns => Stored.Columns;

    public bool Is8Bit => _copy is not null;

    /// <summary>Whether it is used as stored, in BF16.</summary>
    public bool IsBFloat16 => !Is8Bit && Stored.Format == WeightFormat.BFloat16;

    public bool IsEmpty => Stored.IsEmpty;

    /// <summary>Bytes that a product reads.</summary>
    public long Bytes => Is8Bit ? WeightTile.Bytes(Columns) * WeightTile.TilesOf(Rows) : Stored.TotalBytes;

    /// <summary>Bytes that a product reads less than are stored.</summary>
    public long SavedBytes => Stored.TotalBytes - Bytes;
}

/// <summary>The three weights of an MLP.</summary>
internal sealed record HotMlp(HotMatrix Gate, HotMatrix Up, HotMatrix Down)
{
    public long SavedBytes => Gate.SavedBytes + Up.SavedBytes + Down.SavedBytes;
}
