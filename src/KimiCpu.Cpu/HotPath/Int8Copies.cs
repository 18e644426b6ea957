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
/// <param name="pool">Writes them.</param>
/// <param name="blockBytes">Of a block that copies share.</param>
internal sealed unsafe class Int8Copies(WorkerPool pool, long blockBytes = 64 << 20) : IDisposable
{
    private const int Group = Int4Group32.GroupSize;

    /// <summary>The inverse of a smaller scale overflows; such a group becomes zeros.</summary>
    private const float SmallestScale = 1e-36f;

    private readonly List<Block> _blocks = [];

    /// <summary>Told each tile of a copy that was written and the worker that wrote it, for tests.</summary>
    public Action<int, int>? Wrote { get; init; }

    /// <summary>Bytes of all copies.</summary>
    public long TotalBytes { get; private set; }

    /// <summary>Bytes of all blocks, which the system promises whole.</summary>
    public long ReservedBytes => _blocks.Sum(b => b.Buffer.Capacity);

    /// <summary>Stored bytes that they replace.</summary>
    public long ReplacedBytes { get; private set; }

    /// <summary>
    /// Whether a copy pays: narrow weights would be mostly padding, an empty one has none, and 4 bits would become twice as many. FP8 takes
    /// 6% more bytes as a copy, which are multiplied faster all the same, by integers.
    /// </summary>
    public static bool Suits(in WeightMatrix weight) =>
        !weight.IsEmpty && weight.Format != WeightFormat.Int4Group32 && weight.Columns >= LaneSum.Lanes * Group / 2;

    /// <summary>A copy, or the stored weight where that is better.</summary>
    public HotMatrix Copy(WeightMatrix weight)
    {
        if (!Suits(weight))
        {
            return new HotMatrix(weight);
        }

        long tileBytes = WeightTile.Bytes(weight.Columns);
        int tileCount = WeightTile.TilesOf(weight.Rows);
        (AlignedBuffer<byte> buffer, long offset) = Room(tileBytes * tileCount);
        TotalBytes += tileBytes * tileCount;
        ReplacedBytes += weight.TotalBytes;
        byte* target = buffer.Pointer + offset;
        pool.Run(tileCount, new PoolAction((begin, end, worker) =>
        {
            for (int tile = begin; tile < end; tile++)
            {
                WriteTile(weight, tile * WeightTile.Rows, target + (tile * tileBytes));
                Wrote?.Invoke(tile, worker);
            }
        }));
        return new HotMatrix(weight, buffer, offset);
    }

    public void Dispose() => _blocks.ForEach(b => b.Buffer.Dispose());

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

    /// <summary>
    /// Room for so many bytes, in the first block that has some. Copies share large blocks, since small ones would not lie in huge pages; what large copies leave of
    /// theirs goes to smaller ones, since a system that counts what it promises counts it, too.
    /// </summary>
    private (AlignedBuffer<byte> Buffer, long Offset) Room(long bytes)
    {
        Block? block = _blocks.Find(b => b.Used + bytes <= b.Buffer.Capacity);
        if (block is null)
        {
            block = new Block(new AlignedBuffer<byte>(Math.Max(bytes, blockBytes)));
            _blocks.Add(block);
        }

        long offset = block.Used;
        block.Used += bytes;
        return (block.Buffer, offset);
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

        // A scale is off by at most 1/257, so the largest value is at most 127.4961 of its steps and still rounds to 127; 127.5 would wrap around to -128.
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

    /// <summary>Filled from its beginning.</summary>
    private sealed class Block(AlignedBuffer<byte> buffer)
    {
        public AlignedBuffer<byte> Buffer { get; } = buffer;

        public long Used { get; set; }
    }
}
