// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>Instructions in which the lanes of a warp work together. Fragment layouts as the PTX ISA manual draws them.</summary>
internal static unsafe partial class PtxInstructionSet
{
    private static void BarWarp(PtxInstruction i, PtxWarp w, uint mask) => w.Epoch++;

    private static void ShuffleButterfly(PtxInstruction i, PtxWarp w, uint mask) => Shuffle(i, w, ofLane: -1);

    private static void ShuffleIndex(PtxInstruction i, PtxWarp w, uint mask) => Shuffle(i, w, ofLane: 0);

    /// <summary>Each lane gets the value of the lane that its second operand names, crossed with those bits of its own number.</summary>
    private static void Shuffle(PtxInstruction i, PtxWarp w, int ofLane)
    {
        uint* a = (uint*)(w.Registers + i.Sources[0]);
        uint* other = (uint*)(w.Registers + i.Sources[1]);
        uint* d = (uint*)(w.Registers + i.Destination);
        uint* values = stackalloc uint[32];
        new ReadOnlySpan<uint>(a, 32).CopyTo(new Span<uint>(values, 32));
        for (int l = 0; l < 32; l++)
        {
            d[l] = values[((l & ofLane) ^ (int)other[l]) & 31];
        }
    }

    private static void Ballot(PtxInstruction i, PtxWarp w, uint mask)
    {
        uint votes = Predicate(i, w, 0) & mask;
        new Span<uint>(w.Registers + i.Destination, 32).Fill(votes);
    }

    private static void ReduceToMaximum(PtxInstruction i, PtxWarp w, uint mask) => new Span<uint>(w.Registers + i.Destination, 32).Fill(Reduced(i, w).Max());

    private static void ReduceToMinimum(PtxInstruction i, PtxWarp w, uint mask) => new Span<uint>(w.Registers + i.Destination, 32).Fill(Reduced(i, w).Min());

    private static uint[] Reduced(PtxInstruction i, PtxWarp w) =>
        new ReadOnlySpan<uint>(w.Registers + i.Sources[1], 32).ContainsAnyExcept(uint.MaxValue)
            ? throw new PtxFault($"`{i.Text}`: only reductions of a whole warp are understood")
            : new ReadOnlySpan<uint>(w.Registers + i.Sources[0], 32).ToArray();

    private static void LoadMatrix(PtxInstruction i, PtxWarp w, uint mask)
    {
        byte** rows = stackalloc byte*[32];
        MatrixRows(i, w, rows);
        for (int matrix = 0; matrix < 4; matrix++)
        {
            uint* d = (uint*)(w.Registers + i.Destinations[matrix]);
            for (int l = 0; l < 32; l++)
            {
                d[l] = *(uint*)(rows[(matrix * 8) + (l >> 2)] + (4 * (l & 3)));
            }
        }
    }

    private static void LoadMatrixTransposed(PtxInstruction i, PtxWarp w, uint mask)
    {
        byte** rows = stackalloc byte*[32];
        MatrixRows(i, w, rows);
        for (int matrix = 0; matrix < 4; matrix++)
        {
            uint* d = (uint*)(w.Registers + i.Destinations[matrix]);
            for (int l = 0; l < 32; l++)
            {
                int row = (matrix * 8) + (2 * (l & 3));
                int column = 2 * (l >> 2);
                d[l] = *(ushort*)(rows[row] + column) | ((uint)*(ushort*)(rows[row + 1] + column) << 16);
            }
        }
    }

    private static void MatrixRows(PtxInstruction i, PtxWarp w, byte** rows)
    {
        uint* addresses = (uint*)(w.Registers + i.Base);
        for (int l = 0; l < 32; l++)
        {
            rows[l] = w.Block.Shared.At(i, w, l, addresses[l] + (ulong)i.Offset, 16, write: false);
        }
    }

    /// <summary>D (16 x 8) = A (16 x 16) B (16 x 8) + C. Lane l has rows l / 4 and l / 4 + 8, columns 2 (l % 4) and the next.</summary>
    private static void MatrixMultiply(PtxInstruction i, PtxWarp w, uint mask)
    {
        float* a = stackalloc float[16 * 16];
        float* b = stackalloc float[16 * 8];
        float* d = stackalloc float[16 * 8];
        for (int l = 0; l < 32; l++)
        {
            int row = l >> 2;
            int column = 2 * (l & 3);
            for (int half = 0; half < 2; half++)
            {
                for (int r = 0; r < 2; r++)
                {
                    uint pair = Source(i, w, (half * 2) + r, l);
                    a[((row + (8 * r)) * 16) + column + (8 * half)] = BitConverter.UInt32BitsToSingle(pair << 16);
                    a[((row + (8 * r)) * 16) + column + (8 * half) + 1] = BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000);
                }

                uint values = Source(i, w, 4 + half, l);
                b[((column + (8 * half)) * 8) + row] = BitConverter.UInt32BitsToSingle(values << 16);
                b[((column + (8 * half) + 1) * 8) + row] = BitConverter.UInt32BitsToSingle(values & 0xFFFF0000);
            }

            for (int c = 0; c < 4; c++)
            {
                d[((row + (8 * (c >> 1))) * 8) + column + (c & 1)] = BitConverter.UInt32BitsToSingle(Source(i, w, 6 + c, l));
            }
        }

        for (int row = 0; row < 16; row++)
        {
            Vector256<float> sum = Vector256.Load(d + (row * 8));
            for (int k = 0; k < 16; k++)
            {
                sum += Vector256.Create(a[(row * 16) + k]) * Vector256.Load(b + (k * 8));
            }

            sum.Store(d + (row * 8));
        }

        for (int l = 0; l < 32; l++)
        {
            for (int c = 0; c < 4; c++)
            {
                ((float*)(w.Registers + i.Destinations[c]))[l] = d[(((l >> 2) + (8 * (c >> 1))) * 8) + (2 * (l & 3)) + (c & 1)];
            }
        }
    }

    /// <summary>D (16 x 8) = A (16 x 32, unsigned bytes) B (32 x 8, signed bytes) + C, integers. Lane l has rows l / 4 and l / 4 + 8 of A, columns 4 (l % 4) … and those 16 further.</summary>
    private static void MatrixMultiplyBytes(PtxInstruction i, PtxWarp w, uint mask)
    {
        byte* a = stackalloc byte[16 * 32];
        sbyte* b = stackalloc sbyte[8 * 32];
        for (int l = 0; l < 32; l++)
        {
            int row = l >> 2;
            int column = 4 * (l & 3);
            for (int register = 0; register < 4; register++)
            {
                *(uint*)(a + ((row + (8 * (register & 1))) * 32) + column + (16 * (register >> 1))) = Source(i, w, register, l);
            }

            // Of B a lane has one column, at the rows that are its columns of A.
            *(uint*)(b + (row * 32) + column) = Source(i, w, 4, l);
            *(uint*)(b + (row * 32) + column + 16) = Source(i, w, 5, l);
        }

        int* d = stackalloc int[32 * 4];
        for (int l = 0; l < 32; l++)
        {
            for (int c = 0; c < 4; c++)
            {
                byte* row = a + (((l >> 2) + (8 * (c >> 1))) * 32);
                sbyte* column = b + (((2 * (l & 3)) + (c & 1)) * 32);
                int sum = (int)Source(i, w, 6 + c, l);
                for (int k = 0; k < 32; k++)
                {
                    sum += row[k] * column[k];
                }

                d[(l * 4) + c] = sum;
            }
        }

        for (int l = 0; l < 32; l++)
        {
            for (int c = 0; c < 4; c++)
            {
                ((int*)(w.Registers + i.Destinations[c]))[l] = d[(l * 4) + c];
            }
        }
    }

    private static uint Source(PtxInstruction i, PtxWarp w, int source, int lane) => ((uint*)(w.Registers + i.Sources[source]))[lane];
}
