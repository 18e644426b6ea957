// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// Copies of weights as 8-bit integers with a bfloat16 scale for 32 columns (8.5 bits a weight), in the tiles that the
/// kernels read, in huge pages. Owns them.
/// </summary>
internal sealed unsafe class Int8Copies(WorkerPool pool) : IDisposable
{
    private const int Group = Int4Group32.GroupSize;

    private readonly List<AlignedBuffer<byte>> _buffers = [];

    /// <summary>Bytes of all copies.</summary>
    public long TotalBytes { get; private set; }

    /// <summary>Stored bytes that they replace.</summary>
    public long ReplacedBytes { get; private set; }

    /// <summary>Whether a copy pays: narrow weights would be mostly padding, and an empty one has none.</summary>
    public static bool Suits(in WeightMatrix weight) => !weight.IsEmpty && weight.Columns >= LaneSum.Lanes * Group / 2;

    /// <summary>A copy, or the stored weight where that is better.</summary>
    public HotMatrix Copy(WeightMatrix weight)
    {
        if (!Suits(weight))
        {
            return new HotMatrix(weight);
        }

        long tileBytes = WeightTile.Bytes(weight.Columns);
        int tileCount = WeightTile.TilesOf(weight.Rows);
        var buffer = new AlignedBuffer<byte>(tileBytes * tileCount);
        _buffers.Add(buffer);
        TotalBytes += tileBytes * tileCount;
        ReplacedBytes += weight.TotalBytes;
        byte* target = buffer.Pointer;
        pool.Run(tileCount, new PoolAction((begin, end, _) =>
        {
            for (int tile = begin; tile < end; tile++)
            {
                WriteTile(weight, tile * WeightTile.Rows, target + (tile * tileBytes));
            }
        }));
        return new HotMatrix(weight, buffer);
    }

    public void Dispose() => _buffers.ForEach(b => b.Dispose());

    /// <summary>Scale = max|w| / 127, rounded to bfloat16; weight = round to nearest even of w / scale.</summary>
    internal static void WriteTile(in WeightMatrix weight, int firstRow, byte* tile)
    {
        int columns = weight.Columns;
        int blocks = LaneSum.BlocksOf(columns);
        float* row = FloatGemm.Scratch((long)blocks * LaneSum.Lanes * Group);
        var all = new Span<float>(row, blocks * LaneSum.Lanes * Group);
        for (int r = 0; r < WeightTile.Rows; r++)
        {
            all.Clear();
            if (firstRow + r < weight.Rows)
            {
                WeightDecoder.DecodeRow(weight, firstRow + r, all[..columns]);
            }

            for (int g = 0; g < blocks * LaneSum.Lanes; g++)
            {
                WriteGroup(all.Slice(g * Group, Group), tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes), r);
            }
        }
    }

    private static void WriteGroup(ReadOnlySpan<float> values, byte* record, int r)
    {
        float largest = System.Numerics.Tensors.TensorPrimitives.MaxMagnitude(values);
        ushort scale = BFloat16.FromSingle(MathF.Abs(largest) / 127);
        float rounded = BFloat16.ToSingle(scale);

        // Not finite: the scale carries it to the result. Too small for a scale: zeros.
        float inverse = rounded > 1e-36f && float.IsFinite(rounded) ? 1 / rounded : 0;
        ((ushort*)(record + WeightTile.ScalesAt))[r] = inverse == 0 && float.IsFinite(rounded) ? (ushort)0 : scale;
        byte* target = record + (r / WeightTile.HalfRows * WeightTile.HalfBytes) + (r % WeightTile.HalfRows * 4);
        for (int c = 0; c < Group; c++)
        {
            int value = inverse == 0 ? 0 : Math.Clamp((int)MathF.Round(values[c] * inverse), -127, 127);
            int place = ((c & 1) * (Group / 2)) + (c / 2);
            target[(place / 4 * WeightTile.VectorBytes) + (place % 4)] = (byte)(value + WeightTile.Int8Bias);
        }
    }
}
