// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Unpacks 32 rows of INT4 weights as stored into a <see cref="WeightTile"/>, once for all tokens that need them. Rows
/// behind the last and columns behind the end become zeros with scale 0. All paths give the same bytes.
/// </summary>
internal static unsafe partial class TileUnpacker
{
    private const int GroupBytes = Int4Group32.GroupSize / 2;

    /// <summary>Keeps the reads of <see cref="Touch(in WeightMatrix, int, int, long, long)"/> from being left out.</summary>
    [ThreadStatic]
    private static int t_touched;

    public static void Unpack(in WeightMatrix weight, int firstRow, byte* tile) => Unpack(CpuFeatures.Best, weight, firstRow, tile);

    /// <param name="set">Which path; must be supported.</param>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Int4Group32"/>.</param>
    /// <param name="firstRow">A multiple of 32.</param>
    /// <param name="tile">(<see cref="WeightTile.Bytes"/>).</param>
    public static void Unpack(InstructionSet set, in WeightMatrix weight, int firstRow, byte* tile)
    {
        int rows = Math.Min(WeightTile.Rows, weight.Rows - firstRow);
        int blocks = LaneSum.BlocksOf(weight.Columns);
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        int whole = weight.Columns / Int4Group32.GroupSize;
        int done = 0;
        if (rows == WeightTile.Rows)
        {
            done = set switch
            {
                InstructionSet.Avx512 => WholeAvx512(weight, firstRow, whole, blocks, tile),
                InstructionSet.Avx2 => WholeAvx2(weight, firstRow, whole, blocks, tile),
                InstructionSet.Scalar => 0,
                _ => WholeVector128(weight, firstRow, whole, blocks, tile),
            };
        }

        for (int g = done; g < blocks * LaneSum.Lanes; g++)
        {
            byte* record = tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes);
            if (rows < WeightTile.Rows || g >= whole)
            {
                new Span<byte>(record, WeightTile.RecordBytes).Clear();
            }

            for (int r = 0; r < rows && g < groups; r++)
            {
                Element(weight, firstRow + r, g, groups, record, r);
            }
        }
    }

    /// <summary>
    /// Reads rows that are needed next, and their scales. They lie one behind the other, but are unpacked side by side,
    /// which no hardware prefetch follows; and software prefetches in a row are dropped once the miss buffers are full.
    /// </summary>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Int4Group32"/>.</param>
    /// <param name="firstRow">First row to read.</param>
    /// <param name="endRow">Behind the last.</param>
    /// <param name="firstByte">Bytes of the first rows that are left out.</param>
    /// <param name="firstScaleByte">The same of the scales.</param>
    public static void Touch(in WeightMatrix weight, int firstRow, int endRow, long firstByte, long firstScaleByte)
    {
        int rows = endRow - firstRow;
        long rowBytes = Int4Group32.RowBytes(weight.Columns);
        long scaleBytes = 2L * Int4Group32.GroupsPerRow(weight.Columns);
        int sum = Touch(weight.Data + (firstRow * rowBytes), firstByte, rows * rowBytes) + Touch(weight.Scales + (firstRow * scaleBytes), firstScaleByte, rows * scaleBytes);
        System.Threading.Volatile.Write(ref t_touched, sum);
    }

    private static int Touch(byte* at, long first, long bytes)
    {
        int sum = 0;
        for (long i = first; i < bytes; i += 64)
        {
            sum += at[i];
        }

        return sum;
    }

    private static void Element(in WeightMatrix weight, int row, int g, int groups, byte* record, int r)
    {
        byte* data = weight.Data + ((long)row * Int4Group32.RowBytes(weight.Columns)) + (g * GroupBytes);
        int columns = Math.Min(Int4Group32.GroupSize, weight.Columns - (g * Int4Group32.GroupSize));
        byte* target = record + (r / WeightTile.HalfRows * WeightTile.HalfBytes) + (r % WeightTile.HalfRows * 4);
        for (int i = 0; i < (columns + 1) / 2; i++)
        {
            byte* at = target + (i / 4 * WeightTile.VectorBytes) + (i % 4);
            at[0] = (byte)(data[i] & 15);
            at[4 * WeightTile.VectorBytes] = (byte)(data[i] >> 4);
        }

        ushort* scales = (ushort*)(record + WeightTile.ScalesAt);
        scales[r] = Unsafe.ReadUnaligned<ushort>(weight.Scales + (2 * (((long)row * groups) + g)));
    }

    /// <summary>Four rows of 16 bytes at a time, transposed in units of four columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int WholeVector128(in WeightMatrix weight, int firstRow, int whole, int blocks, byte* tile)
    {
        long rowBytes = Int4Group32.RowBytes(weight.Columns);
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        Vector128<byte> mask = Vector128.Create((byte)15);
        for (int r = 0; r < WeightTile.Rows; r += 4)
        {
            byte* data = weight.Data + ((firstRow + r) * rowBytes);
            ushort* scales = (ushort*)weight.Scales + ((long)(firstRow + r) * groups);
            int offset = (r / WeightTile.HalfRows * WeightTile.HalfBytes) + (r % WeightTile.HalfRows * 4);
            for (int g = 0; g < whole; g++)
            {
                byte* record = tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes);
                byte* at = data + (g * GroupBytes);
                Vector128<uint> a = Vector128.Load(at).AsUInt32();
                Vector128<uint> b = Vector128.Load(at + rowBytes).AsUInt32();
                Vector128<uint> c = Vector128.Load(at + (2 * rowBytes)).AsUInt32();
                Vector128<uint> d = Vector128.Load(at + (3 * rowBytes)).AsUInt32();
                Transpose(ref a, ref b, ref c, ref d);
                byte* target = record + offset;
                StoreNibbles(a, target, mask);
                StoreNibbles(b, target + WeightTile.VectorBytes, mask);
                StoreNibbles(c, target + (2 * WeightTile.VectorBytes), mask);
                StoreNibbles(d, target + (3 * WeightTile.VectorBytes), mask);
                ushort* scale = (ushort*)(record + WeightTile.ScalesAt) + r;
                for (int i = 0; i < 4; i++)
                {
                    scale[i] = Unsafe.ReadUnaligned<ushort>(scales + ((long)i * groups) + g);
                }
            }
        }

        return whole;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreNibbles(Vector128<uint> packed, byte* target, Vector128<byte> mask)
    {
        (packed.AsByte() & mask).Store(target);
        ((packed >> 4).AsByte() & mask).Store(target + (4 * WeightTile.VectorBytes));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(ref Vector128<uint> a, ref Vector128<uint> b, ref Vector128<uint> c, ref Vector128<uint> d)
    {
        (Vector128<uint> ab0, Vector128<uint> ab1) = Zip(a, b);
        (Vector128<uint> cd0, Vector128<uint> cd1) = Zip(c, d);
        (a, b) = ZipPairs(ab0, cd0);
        (c, d) = ZipPairs(ab1, cd1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector128<uint> Low, Vector128<uint> High) Zip(Vector128<uint> a, Vector128<uint> b)
    {
        if (Sse2.IsSupported)
        {
            return (Sse2.UnpackLow(a, b), Sse2.UnpackHigh(a, b));
        }

        return AdvSimd.Arm64.IsSupported
            ? (AdvSimd.Arm64.ZipLow(a, b), AdvSimd.Arm64.ZipHigh(a, b))
            : (Vector128.Create(a[0], b[0], a[1], b[1]), Vector128.Create(a[2], b[2], a[3], b[3]));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector128<uint> Low, Vector128<uint> High) ZipPairs(Vector128<uint> a, Vector128<uint> b) =>
        (Vector128.Create(a.GetLower(), b.GetLower()), Vector128.Create(a.GetUpper(), b.GetUpper()));

    /// <summary>Sixteen rows of 64 bytes (four groups) at a time, transposed in units of four columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int WholeAvx512(in WeightMatrix weight, int firstRow, int whole, int blocks, byte* tile)
    {
        long rowBytes = Int4Group32.RowBytes(weight.Columns);
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        int done = whole / LaneSum.Lanes * LaneSum.Lanes;
        long laneBytes = (long)blocks * WeightTile.RecordBytes;
        for (int half = 0; half < 2; half++)
        {
            int row = firstRow + (half * WeightTile.HalfRows);
            byte* data = weight.Data + (row * rowBytes);
            ushort* scales = (ushort*)weight.Scales + ((long)row * groups);
            for (int g = 0; g < done; g += 4)
            {
                byte* record = tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes) + (half * WeightTile.HalfBytes);
                Nibbles16x4(data + (g * GroupBytes), rowBytes, record, laneBytes);
            }

            for (int g = 0; g < done; g += LaneSum.Lanes)
            {
                byte* record = tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes) + WeightTile.ScalesAt + (half * 2 * WeightTile.HalfRows);
                Transpose16x16(scales + g, groups, record, laneBytes);
            }
        }

        return done;
    }

    /// <summary>All in registers: an array of vectors would pass through memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Nibbles16x4(byte* data, long rowBytes, byte* record, long laneBytes)
    {
        Transposition.Quad(data, rowBytes, out Vector512<uint> a0, out Vector512<uint> b0, out Vector512<uint> c0, out Vector512<uint> d0);
        Transposition.Quad(data + (4 * rowBytes), rowBytes, out Vector512<uint> a1, out Vector512<uint> b1, out Vector512<uint> c1, out Vector512<uint> d1);
        Transposition.Quad(data + (8 * rowBytes), rowBytes, out Vector512<uint> a2, out Vector512<uint> b2, out Vector512<uint> c2, out Vector512<uint> d2);
        Transposition.Quad(data + (12 * rowBytes), rowBytes, out Vector512<uint> a3, out Vector512<uint> b3, out Vector512<uint> c3, out Vector512<uint> d3);
        StoreGroups(a0, a1, a2, a3, record, laneBytes);
        StoreGroups(b0, b1, b2, b3, record + WeightTile.VectorBytes, laneBytes);
        StoreGroups(c0, c1, c2, c3, record + (2 * WeightTile.VectorBytes), laneBytes);
        StoreGroups(d0, d1, d2, d3, record + (3 * WeightTile.VectorBytes), laneBytes);
    }

    /// <summary>One dword of four groups, from four times four rows, to the records of the groups.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreGroups(Vector512<uint> a, Vector512<uint> b, Vector512<uint> c, Vector512<uint> d, byte* target, long laneBytes)
    {
        Vector512<uint> mask = Vector512.Create(0x0F0F0F0Fu);
        (Vector512<uint> first, Vector512<uint> second, Vector512<uint> third, Vector512<uint> fourth) = Transposition.Lanes(a, b, c, d);
        Store(first, target, mask);
        Store(second, target + laneBytes, mask);
        Store(third, target + (2 * laneBytes), mask);
        Store(fourth, target + (3 * laneBytes), mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<uint> packed, byte* target, Vector512<uint> mask)
    {
        (packed & mask).AsByte().Store(target);
        ((packed >> 4) & mask).AsByte().Store(target + (4 * WeightTile.VectorBytes));
    }

    /// <summary>Scales of 16 rows x 16 groups to 16 records of 16 rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose16x16(ushort* scales, int stride, byte* record, long laneBytes)
    {
        // Rows r and r + 8, element by element, then again with those 4, 2 and 1 rows apart: rows 0 … 15 of a group side by side.
        Vector512<ushort> a = Alternate(scales, scales + (8L * stride));
        Vector512<ushort> b = Alternate(scales + stride, scales + (9L * stride));
        Vector512<ushort> c = Alternate(scales + (2L * stride), scales + (10L * stride));
        Vector512<ushort> d = Alternate(scales + (3L * stride), scales + (11L * stride));
        Vector512<ushort> e = Alternate(scales + (4L * stride), scales + (12L * stride));
        Vector512<ushort> f = Alternate(scales + (5L * stride), scales + (13L * stride));
        Vector512<ushort> g = Alternate(scales + (6L * stride), scales + (14L * stride));
        Vector512<ushort> h = Alternate(scales + (7L * stride), scales + (15L * stride));
        (Vector512<ushort> ae, Vector512<ushort> ae2) = Zip(a, e);
        (Vector512<ushort> bf, Vector512<ushort> bf2) = Zip(b, f);
        (Vector512<ushort> cg, Vector512<ushort> cg2) = Zip(c, g);
        (Vector512<ushort> dh, Vector512<ushort> dh2) = Zip(d, h);
        EightGroups(ae, bf, cg, dh, record, laneBytes);
        EightGroups(ae2, bf2, cg2, dh2, record + (8 * laneBytes), laneBytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void EightGroups(Vector512<ushort> ae, Vector512<ushort> bf, Vector512<ushort> cg, Vector512<ushort> dh, byte* record, long laneBytes)
    {
        (Vector512<ushort> aceg, Vector512<ushort> aceg2) = Zip(ae, cg);
        (Vector512<ushort> bdfh, Vector512<ushort> bdfh2) = Zip(bf, dh);
        TwoPairs(aceg, bdfh, record, laneBytes);
        TwoPairs(aceg2, bdfh2, record + (4 * laneBytes), laneBytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TwoPairs(Vector512<ushort> aceg, Vector512<ushort> bdfh, byte* record, long laneBytes)
    {
        (Vector512<ushort> first, Vector512<ushort> second) = Zip(aceg, bdfh);
        first.GetLower().Store((ushort*)record);
        first.GetUpper().Store((ushort*)(record + laneBytes));
        second.GetLower().Store((ushort*)(record + (2 * laneBytes)));
        second.GetUpper().Store((ushort*)(record + (3 * laneBytes)));
    }

    /// <summary>16 elements of each of two rows in turn.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ushort> Alternate(ushort* first, ushort* second) => Zip(Vector512.Create(Vector256.Load(first), default), Vector512.Create(Vector256.Load(second), default)).First;

    /// <summary>Elements of two vectors in turn.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector512<ushort> First, Vector512<ushort> Second) Zip(Vector512<ushort> a, Vector512<ushort> b)
    {
        Vector512<ushort> order = Vector512.Create((ushort)0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
        return (Avx512BW.PermuteVar32x16x2(a, order, b), Avx512BW.PermuteVar32x16x2(a, order + Vector512.Create((ushort)16), b));
    }
}
