// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>INT4 weights as stored times rounded activations of several tokens; the bits of <see cref="Int4Gemv"/>. Stateless; usable by all threads at once.</summary>
internal sealed unsafe class Int4TokensProducts
{
    /// <summary>Rows that all tiles of tokens meet one after another, while they are in the second-level cache.</summary>
    private const int ChunkRows = 32;

    private readonly ExecutableMemory _code;
    private readonly CallingConvention _convention;
    private readonly int _blockRows;
    private readonly delegate* unmanaged<Int4TokensArguments*, void>[] _functions;

    public Int4TokensProducts(ExecutableMemory code, GeneratedCode functions, CallingConvention convention)
    {
        _code = code;
        _convention = convention;
        _blockRows = Int4TokensCode.BlockRows(convention);
        _functions = new delegate* unmanaged<Int4TokensArguments*, void>[functions.Int4Tokens.Count];
        for (int i = 0; i < _functions.Length; i++)
        {
            _functions[i] = (delegate* unmanaged<Int4TokensArguments*, void>)(code.Pointer + functions.Int4Tokens[i]);
        }
    }

    /// <summary>Whether a matrix has as many rows as are multiplied together.</summary>
    public bool CanMultiply(in WeightMatrix weight) => weight.Rows >= _blockRows;

    /// <inheritdoc cref="TileKernel.MultiplyStored(in WeightMatrix, int, int, ReadOnlySpan{QuantizedRow}, float*, long)"/>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride)
    {
        var scratch = new Scratch(weight, x, Cut, _convention);

        // Nothing has asked for the first rows yet.
        TileUnpacker.Touch(weight, rowBegin, Math.Min(rowEnd, rowBegin + _blockRows), 0);
        int wholeEnd = rowBegin + ((rowEnd - rowBegin) / _blockRows * _blockRows);
        int chunk = scratch.HasRest || Cut.Count(x.Length) > 1 ? ChunkRows : weight.Rows;
        for (int row = rowBegin; row < wholeEnd; row += chunk)
        {
            int end = Math.Min(row + chunk, wholeEnd);
            MultiplyBlocks(weight, row, end, x.Length, scratch, y + row, yStride);
        }

        if (wholeEnd == rowEnd)
        {
            return;
        }

        // A whole block of which only the last rows, or some in the middle, are wanted.
        int begin = Math.Min(wholeEnd, weight.Rows - _blockRows);
        float* results = stackalloc float[_blockRows * x.Length];
        MultiplyBlocks(weight, begin, begin + _blockRows, x.Length, scratch, results, _blockRows);
        for (int t = 0; t < x.Length; t++)
        {
            var wanted = new ReadOnlySpan<float>(results + (t * _blockRows) + (wholeEnd - begin), rowEnd - wholeEnd);
            wanted.CopyTo(new Span<float>(y + (t * yStride) + wholeEnd, rowEnd - wholeEnd));
        }
    }

    private TokenTiles Cut => new(_functions.Length + 1);

    /// <summary>y[t * yStride + r - begin] of whole blocks of rows.</summary>
    private void MultiplyBlocks(in WeightMatrix weight, int begin, int end, int tokens, in Scratch scratch, float* y, long yStride)
    {
        scratch.CopyRest(weight, begin, end);
        byte* own = weight.Data + (begin * weight.RowBytes);
        byte* ownScales = weight.Scales + (begin * scratch.ScaleRowBytes);
        for (int first = 0, count; first < tokens; first += count)
        {
            count = Cut.Next(tokens - first);
            var arguments = new Int4TokensArguments
            {
                Data = own,
                Scales = ownScales,
                RowBytes = weight.RowBytes,
                ScaleRowBytes = scratch.ScaleRowBytes,
                Blocks = (end - begin) / _blockRows,
                X = scratch.Tile(first),
                Steps = weight.Columns / StepTiles.Columns,
                Rest = scratch.HasRest ? scratch.Rest : null,
                RestScales = scratch.RestScales,
                Sums = scratch.Sums,
                SumsEnd = scratch.Sums + Int4TokensCode.SumBytes(_convention, count),

                // The next block; tiles behind the first find all rows in the cache.
                Next = own + (first == 0 ? _blockRows * weight.RowBytes : 0),
                NextScales = ownScales + (first == 0 ? _blockRows * scratch.ScaleRowBytes : 0),
                Y = y + (first * yStride),
                YStride = yStride * sizeof(float),
            };
            _functions[count - Int4TokensCode.FewestTokens](&arguments);
        }

        GC.KeepAlive(_code);
    }

    /// <summary>The thread's own memory while it multiplies a matrix: activations in their order, sums, and what is left of rows behind their whole steps.</summary>
    private readonly ref struct Scratch
    {
        private readonly int _columns;
        private readonly byte* _tiles;

        public Scratch(in WeightMatrix weight, ReadOnlySpan<QuantizedRow> x, TokenTiles cut, CallingConvention convention)
        {
            _columns = weight.Columns;
            ScaleRowBytes = sizeof(ushort) * (long)Int4Group32.GroupsPerRow(_columns);
            HasRest = _columns % StepTiles.Columns != 0;
            long tileBytes = StepTiles.Bytes(x.Length, _columns);
            long sumBytes = Int4TokensCode.SumBytes(convention, Int4TokensCode.MostTokens);
            _tiles = (byte*)FloatGemm.Scratch((tileBytes + sumBytes + (ChunkRows * (Int4TokensCode.StepBytes + Int4TokensCode.StepScaleBytes))) / sizeof(float));
            Sums = _tiles + tileBytes;
            Rest = Sums + sumBytes;
            RestScales = Rest + (ChunkRows * Int4TokensCode.StepBytes);
            for (int first = 0, tokens; first < x.Length; first += tokens)
            {
                tokens = cut.Next(x.Length - first);
                StepTiles.Write(x.Slice(first, tokens), _columns, Tile(first));
            }
        }

        /// <summary>Of the weights.</summary>
        public long ScaleRowBytes { get; }

        /// <summary>Whether a step follows that a row fills in part.</summary>
        public bool HasRest { get; }

        public byte* Sums { get; }

        public byte* Rest { get; }

        public byte* RestScales { get; }

        public byte* Tile(int firstToken) => _tiles + StepTiles.Bytes(firstToken, _columns);

        /// <summary>For up to <see cref="ChunkRows"/> rows.</summary>
        public void CopyRest(in WeightMatrix weight, int begin, int end)
        {
            if (!HasRest)
            {
                return;
            }

            int whole = _columns / StepTiles.Columns;
            int bytes = (int)weight.RowBytes - (whole * Int4TokensCode.StepBytes);
            int scaleBytes = (int)ScaleRowBytes - (whole * Int4TokensCode.StepScaleBytes);
            new Span<byte>(Rest, ChunkRows * (Int4TokensCode.StepBytes + Int4TokensCode.StepScaleBytes)).Clear();
            for (int row = begin; row < end; row++)
            {
                Buffer.MemoryCopy(weight.Data + ((row + 1) * weight.RowBytes) - bytes, Rest + ((row - begin) * Int4TokensCode.StepBytes), bytes, bytes);
                Buffer.MemoryCopy(weight.Scales + ((row + 1) * ScaleRowBytes) - scaleBytes, RestScales + ((row - begin) * Int4TokensCode.StepScaleBytes), scaleBytes, scaleBytes);
            }
        }
    }
}
