// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>INT4 weights as stored times rounded activations of several tokens; the bits of <see cref="Int4Gemv"/>. Stateless; usable by all threads at once.</summary>
internal sealed unsafe class Int4TokensProducts
{
    private const int BlockRows = Int4StepCode.Rows;

    private readonly ExecutableMemory _code;
    private readonly Dictionary<Int4TokensShape, long> _functions;

    public Int4TokensProducts(ExecutableMemory code, GeneratedCode functions)
    {
        _code = code;
        _functions = functions.Int4Tokens.ToDictionary();
    }

    /// <summary>Whether a matrix has as many rows as are multiplied together.</summary>
    public static bool CanMultiply(in WeightMatrix weight) => weight.Rows >= BlockRows;

    /// <inheritdoc cref="TileKernel.MultiplyStored(in WeightMatrix, int, int, ReadOnlySpan{QuantizedRow}, float*, long, in WeightMatrix, int)"/>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride, in WeightMatrix next, int nextRow)
    {
        var scratch = new Scratch(weight, x);
        int wholeEnd = rowBegin + ((rowEnd - rowBegin) / BlockRows * BlockRows);
        int chunk = scratch.HasRest ? BlockRows : weight.Rows;
        for (int row = rowBegin, end; row < wholeEnd; row = end)
        {
            // The last block by itself where what comes next is elsewhere.
            int last = wholeEnd == rowEnd ? wholeEnd - BlockRows : wholeEnd;
            end = row == last ? wholeEnd : Math.Min(row + chunk, last);
            (WeightMatrix after, int afterRow) = row == last ? (next, nextRow) : (weight, Math.Min(row + BlockRows, weight.Rows - BlockRows));
            MultiplyBlocks(weight, row, end, scratch, y + row, yStride, after, afterRow);
        }

        if (wholeEnd == rowEnd)
        {
            return;
        }

        // A whole block of which only the last rows, or some in the middle, are wanted.
        int begin = Math.Min(wholeEnd, weight.Rows - BlockRows);
        float* results = stackalloc float[BlockRows * x.Length];
        MultiplyBlocks(weight, begin, begin + BlockRows, scratch, results, BlockRows, next, nextRow);
        for (int t = 0; t < x.Length; t++)
        {
            var wanted = new ReadOnlySpan<float>(results + (t * BlockRows) + (wholeEnd - begin), rowEnd - wholeEnd);
            wanted.CopyTo(new Span<float>(y + (t * yStride) + wholeEnd, rowEnd - wholeEnd));
        }
    }

    /// <summary>y[t * yStride + r - begin] of whole blocks of rows.</summary>
    private void MultiplyBlocks(in WeightMatrix weight, int begin, int end, in Scratch scratch, float* y, long yStride, in WeightMatrix next, int nextRow)
    {
        // Where nothing comes next, what is in the cache anyway is asked for.
        bool ends = next.IsEmpty || nextRow >= next.Rows;
        (WeightMatrix after, int afterRow) = ends ? (weight, begin) : (next, nextRow);
        scratch.CopyRest(weight, begin);
        byte* data = weight.Data + (begin * weight.RowBytes);
        byte* scales = weight.Scales + (begin * scratch.ScaleRowBytes);
        float** results = stackalloc float*[scratch.Tiles];
        for (int tile = 0; tile < scratch.Tiles; tile++)
        {
            results[tile] = y + (scratch.FirstToken(tile) * yStride);
        }

        var arguments = new Int4TokensArguments
        {
            Data = data,
            Scales = scales,
            RowBytes = weight.RowBytes,
            ScaleRowBytes = scratch.ScaleRowBytes,
            Blocks = (end - begin) / BlockRows,
            X = scratch.Tile(0),
            Tiles = scratch.Tiles,
            TileBytes = scratch.TileBytes,
            Steps = weight.Columns / StepTiles.Columns,
            Rest = scratch.HasRest ? scratch.Rest : null,
            RestScales = scratch.RestScales,
            Unpacked = scratch.Unpacked,
            Sums = scratch.Sums,
            Next = after.Data + (afterRow * after.RowBytes),
            NextScales = after.Scales + (afterRow * sizeof(ushort) * (long)Int4Group32.GroupsPerRow(after.Columns)),
            Y = results,
            YStride = yStride * sizeof(float),
        };
        long function = _functions[new Int4TokensShape(scratch.TileTokens, scratch.Tiles > 1)];
        ((delegate* unmanaged<Int4TokensArguments*, void>)(_code.Pointer + function))(&arguments);
        GC.KeepAlive(_code);
    }

    /// <summary>
    /// The thread's own memory while it multiplies a matrix: activations in their order, sums, an unpacked step, and what is left of rows behind their whole steps.
    /// All tiles have the same number of tokens, so the last one may repeat some of those before.
    /// </summary>
    private readonly ref struct Scratch
    {
        private readonly int _columns;
        private readonly int _tokens;
        private readonly byte* _tiles;

        public Scratch(in WeightMatrix weight, ReadOnlySpan<QuantizedRow> x)
        {
            var cut = new TokenTiles(Int4TokensCode.MostTokens);
            _columns = weight.Columns;
            _tokens = x.Length;
            Tiles = cut.Count(x.Length);
            TileTokens = cut.Next(x.Length);
            TileBytes = StepTiles.Bytes(TileTokens, _columns);
            ScaleRowBytes = sizeof(ushort) * (long)Int4Group32.GroupsPerRow(_columns);
            HasRest = _columns % StepTiles.Columns != 0;
            long sumBytes = Int4TokensCode.SumBytes(TileTokens) * (long)Tiles;
            _tiles = (byte*)FloatGemm.Scratch(((TileBytes * Tiles) + sumBytes + Int4StepCode.Bytes + (BlockRows * (Int4StepCode.RowBytes + Int4StepCode.RowScaleBytes))) / sizeof(float));
            Sums = _tiles + (TileBytes * Tiles);
            Unpacked = Sums + sumBytes;
            System.Diagnostics.Debug.Assert(((long)Sums | (long)Unpacked) % TileAhead.LineBytes == 0, "Whole lines are written.");
            Rest = Unpacked + Int4StepCode.Bytes;
            RestScales = Rest + (BlockRows * Int4StepCode.RowBytes);
            for (int tile = 0; tile < Tiles; tile++)
            {
                StepTiles.Write(x.Slice(FirstToken(tile), TileTokens), _columns, Tile(tile));
            }
        }

        public int Tiles { get; }

        /// <summary>Tokens of each tile.</summary>
        public int TileTokens { get; }

        public long TileBytes { get; }

        /// <summary>Of the weights.</summary>
        public long ScaleRowBytes { get; }

        /// <summary>Whether a step follows that a row fills in part.</summary>
        public bool HasRest { get; }

        public byte* Sums { get; }

        public byte* Unpacked { get; }

        public byte* Rest { get; }

        public byte* RestScales { get; }

        public int FirstToken(int tile) => Math.Min(tile * TileTokens, _tokens - TileTokens);

        public byte* Tile(int tile) => _tiles + (tile * TileBytes);

        /// <summary>For a block of rows.</summary>
        public void CopyRest(in WeightMatrix weight, int begin)
        {
            if (!HasRest)
            {
                return;
            }

            int whole = _columns / StepTiles.Columns;
            int bytes = (int)weight.RowBytes - (whole * Int4StepCode.RowBytes);
            int scaleBytes = (int)ScaleRowBytes - (whole * Int4StepCode.RowScaleBytes);
            new Span<byte>(Rest, BlockRows * (Int4StepCode.RowBytes + Int4StepCode.RowScaleBytes)).Clear();
            for (int row = 0; row < BlockRows; row++)
            {
                Buffer.MemoryCopy(weight.Data + ((begin + row + 1) * weight.RowBytes) - bytes, Rest + (row * Int4StepCode.RowBytes), bytes, bytes);
                Buffer.MemoryCopy(weight.Scales + ((begin + row + 1) * ScaleRowBytes) - scaleBytes, RestScales + (row * Int4StepCode.RowScaleBytes), scaleBytes, scaleBytes);
            }
        }
    }
}
