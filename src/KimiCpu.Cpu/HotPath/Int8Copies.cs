// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;
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

    private const long BlockBytes = 64 << 20;

    /// <summary>The inverse of a smaller scale overflows; such a group becomes zeros.</summary>
    private const float SmallestScale = 1e-36f;

    private readonly List<AlignedBuffer<byte>> _buffers = [];
    private long _used;

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
        TotalBytes += tileBytes * tileCount;
        ReplacedBytes += weight.TotalBytes;
        long offset = Room(tileBytes * tileCount);
        byte* target = _buffers[^1].Pointer + offset;
        pool.Run(tileCount, new PoolAction((begin, end, _) =>
        {
            for (int tile = begin; tile < end; tile++)
            {
                WriteTile(weight, tile * WeightTile.Rows, target + (tile * tileBytes));
            }
        }));
        return new HotMatrix(weight, _buffers[^1], offset);
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
                WriteGroup(row + (g * Group), tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes), r);
            }
        }
    }

    /// <summary>Where so many bytes lie in the last block. Copies share large blocks, since small ones would not lie in huge pages.</summary>
    private long Room(long bytes)
    {
        if (_buffers.Count == 0 || _used + bytes > _buffers[^1].Capacity)
        {
            _buffers.Add(new AlignedBuffer<byte>(Math.Max(bytes, BlockBytes)));
            _used = 0;
        }

        long offset = _used;
        _used += bytes;
        return offset;
    }

    private static void WriteGroup(float* values, byte* record, int r)
    {
        Vector256<float> a = Vector256.Load(values);
        Vector256<float> b = Vector256.Load(values + 8);
        Vector256<float> c = Vector256.Load(values + 16);
        Vector256<float> d = Vector256.Load(values + 24);
        ushort scale = BFloat16.FromSingle(Largest(values, a, b, c, d) / 127);
        float rounded = BFloat16.ToSingle(scale);
        ushort* storedScale = (ushort*)(record + WeightTile.ScalesAt) + r;
        uint* target = (uint*)(record + (r / WeightTile.HalfRows * WeightTile.HalfBytes)) + (r % WeightTile.HalfRows);
        if (!(rounded > SmallestScale) || !float.IsFinite(rounded))
        {
            // Not finite: the scale carries it to the result.
            *storedScale = float.IsFinite(rounded) ? (ushort)0 : scale;
            Store(Vector256.Create((byte)WeightTile.Int8Bias), target);
            return;
        }

        // A scale is off by at most 1/512, so the largest value still rounds to 127.
        *storedScale = scale;
        Vector256<float> factor = Vector256.Create(1 / rounded);
        Vector256<short> lower = Vector256.Narrow(Round(a, factor), Round(b, factor));
        Vector256<short> upper = Vector256.Narrow(Round(c, factor), Round(d, factor));
        Vector256<ushort> pairs = Vector256.Narrow(lower, upper).AsUInt16();

        // A pair is an even column and the odd one behind it.
        Vector256<byte> split = Vector256.Narrow(pairs & Vector256.Create((ushort)0xFF), pairs >>> 8);
        Store(split ^ Vector256.Create((byte)WeightTile.Int8Bias), target);
    }

    /// <summary>max|w|; a NaN or an infinity where there is one.</summary>
    private static float Largest(float* values, Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d)
    {
        // x - x is 0 for finite values and NaN for all others.
        Vector256<float> zeros = (a - a) + (b - b) + (c - c) + (d - d);
        if (!Vector256.EqualsAll(zeros, Vector256<float>.Zero))
        {
            float largest = 0;
            for (int i = 0; i < Group; i++)
            {
                // MathF.Max returns a NaN if there is one.
                largest = MathF.Max(largest, MathF.Abs(values[i]));
            }

            return largest;
        }

        Vector256<float> ab = Vector256.MaxNative(Vector256.Abs(a), Vector256.Abs(b));
        Vector256<float> all = Vector256.MaxNative(ab, Vector256.MaxNative(Vector256.Abs(c), Vector256.Abs(d)));
        Vector128<float> most = Vector128.MaxNative(all.GetLower(), all.GetUpper());
        most = Vector128.MaxNative(most, Vector128.Shuffle(most, Vector128.Create(2, 3, 0, 1)));
        most = Vector128.MaxNative(most, Vector128.Shuffle(most, Vector128.Create(1, 0, 3, 2)));
        return most.ToScalar();
    }

    private static Vector256<int> Round(Vector256<float> values, Vector256<float> factor) => Vector256.ConvertToInt32Native(Vector256.Round(values * factor));

    /// <summary>Four columns of a row to each vector of its half.</summary>
    private static void Store(Vector256<byte> columns, uint* target)
    {
        const int Vector = WeightTile.VectorBytes / sizeof(uint);
        Vector256<uint> fours = columns.AsUInt32();
        target[0] = fours.GetElement(0);
        target[Vector] = fours.GetElement(1);
        target[2 * Vector] = fours.GetElement(2);
        target[3 * Vector] = fours.GetElement(3);
        target[4 * Vector] = fours.GetElement(4);
        target[5 * Vector] = fours.GetElement(5);
        target[6 * Vector] = fours.GetElement(6);
        target[7 * Vector] = fours.GetElement(7);
    }
}
