// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Stored rows and a few tokens: 32 rows by 512 columns, a group of each lane, are unpacked into the first-level cache and meet all tokens there, while the
/// next ones are on their way. A tile of whole rows would be written to the second-level cache and read from there, and memory would be waited for meanwhile.
/// </summary>
internal sealed unsafe partial class WideTileKernel<TVector, TProducts>
{
    /// <summary>Groups of a step.</summary>
    private const int StepGroups = LaneSum.Lanes;

    private const int StepBytes = StepGroups * Int4Group32.GroupSize / 2;
    private const int StepScaleBytes = StepGroups * sizeof(ushort);

    /// <summary>Unpacking a part of a step takes as long as multiplying so many lanes by a tile.</summary>
    private const int LanesOfPart = 2;

    /// <summary>Sums of a token.</summary>
    private const int TokenSums = LaneSum.Lanes * WeightTile.Rows;

    /// <summary>Beyond that the sums of all lanes leave the first-level cache, and tiles are as fast; vectors of 512 bits multiply faster and unpack in the same way.</summary>
    public override int MostStoredTokens => TProducts.Rows < WeightTile.HalfRows ? 16 : 12;

    public override void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride, in WeightMatrix next, int nextRow)
    {
        switch (x.Length)
        {
            case 1:
                // For vectors of 512 bits, too.
                MultiplyStored(weight, rowBegin, rowEnd, x[0], y);
                break;
            case <= Int4Gemv.MostTokens:
                Int4Gemv.MultiplyTokens(InstructionSet.Avx2, weight, rowBegin, rowEnd, x, y, yStride);
                break;
            default:
                MultiplySteps(weight, rowBegin, rowEnd, x, y, yStride, next, nextRow);
                break;
        }
    }

    private static void MultiplySteps(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride, in WeightMatrix next, int nextRow)
    {
        var tokens = new StepTokens(x, weight.Columns);
        for (int row = rowBegin; row < rowEnd; row += WeightTile.Rows)
        {
            tokens.ClearSums();
            for (int step = 0; step < tokens.Steps; step++)
            {
                var ahead = step + 1 < tokens.Steps ? new StepAhead(weight, row, step + 1, tokens.Tiles)
                    : row + WeightTile.Rows < rowEnd ? new StepAhead(weight, row + WeightTile.Rows, 0, tokens.Tiles)
                    : new StepAhead(next, nextRow, 0, tokens.Tiles);
                for (int part = 0; part < TileUnpacker.StepParts; part++)
                {
                    ahead.Ask(LanesOfPart);
                    TileUnpacker.UnpackStep(weight, row, step * StepGroups, part, tokens.Unpacked);
                }

                for (int tile = 0; tile < tokens.Tiles; tile++)
                {
                    MultiplyStep(tokens, tile, step, ref ahead);
                }
            }

            tokens.Fold(Math.Min(WeightTile.Rows, rowEnd - row), y + row, yStride);
        }
    }

    private static void MultiplyStep(in StepTokens tokens, int tile, int step, ref StepAhead ahead)
    {
        (int first, int count) = tokens.Tile(tile);
        byte* activations = tokens.Activations(first, count, step);
        float* lanes = tokens.Sums + (first * TokenSums);
        switch (count)
        {
            case 3:
                MultiplyStep<ThreeTokens>(tokens.Unpacked, activations, lanes, ref ahead);
                break;
            case 4:
                MultiplyStep<FourTokens>(tokens.Unpacked, activations, lanes, ref ahead);
                break;
            default:
                MultiplyStep<FiveTokens>(tokens.Unpacked, activations, lanes, ref ahead);
                break;
        }
    }

    /// <summary>A group of each lane for all tokens of a tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void MultiplyStep<TTokens>(byte* weights, byte* activations, float* lanes, ref StepAhead ahead)
        where TTokens : ITokenCount
    {
        for (int lane = 0; lane < LaneSum.Lanes; lane++, lanes += TTokens.Count * WeightTile.Rows)
        {
            ahead.Ask(1);
            Record<TTokens>(weights, activations, lanes);
            weights += WeightTile.RecordBytes;
            activations += TileRecord.TokenBytes * TTokens.Count;
        }
    }

    /// <summary>The tokens of a product, and the thread's memory for it.</summary>
    private readonly ref struct StepTokens
    {
        private const int UnpackedBytes = StepGroups * WeightTile.RecordBytes;

        private readonly int _count;
        private readonly TokenTiles _cut = new(MostTokens);
        private readonly long _tokenBytes;
        private readonly float* _results;
        private readonly byte* _activations;

        public StepTokens(ReadOnlySpan<QuantizedRow> x, int columns)
        {
            _count = x.Length;
            Steps = LaneSum.BlocksOf(columns);
            Tiles = _cut.Count(_count);
            _tokenBytes = (long)Steps * StepGroups * TileRecord.TokenBytes;
            long floats = (((_count * _tokenBytes) + UnpackedBytes) / sizeof(float)) + (_count * (TokenSums + WeightTile.Rows));
            Unpacked = (byte*)FloatGemm.Scratch(floats);
            Sums = (float*)(Unpacked + UnpackedBytes);
            _results = Sums + (_count * TokenSums);
            _activations = (byte*)(_results + (_count * WeightTile.Rows));
            System.Diagnostics.Debug.Assert(_activations + (_count * _tokenBytes) == Unpacked + (floats * sizeof(float)), "Nothing behind what was asked for.");
            for (int tile = 0; tile < Tiles; tile++)
            {
                (int first, int count) = Tile(tile);
                System.Diagnostics.Debug.Assert(count is >= 3 and <= MostTokens, "There are kernels for these.");
                ActivationTiles.WriteInOrder(x.Slice(first, count), Steps * StepGroups, Activations(first, count, 0), Int4Group32.Bias);
            }
        }

        /// <summary>Of a row; columns behind the last are zeros.</summary>
        public int Steps { get; }

        public int Tiles { get; }

        /// <summary>(16, <see cref="WeightTile.RecordBytes"/>).</summary>
        public byte* Unpacked { get; }

        /// <summary>For each tile, beginning with that of its first token: (16 lanes, tokens of the tile, 32 rows).</summary>
        public float* Sums { get; }

        public (int FirstToken, int Tokens) Tile(int tile) => _cut.At(_count, tile);

        public byte* Activations(int first, int count, int step) => _activations + (first * _tokenBytes) + ((long)step * StepGroups * TileRecord.TokenBytes * count);

        public void ClearSums() => new Span<float>(Sums, _count * TokenSums).Clear();

        /// <summary>Row r of token t goes to y[t * yStride + r], of so many rows.</summary>
        public void Fold(int rows, float* y, long yStride)
        {
            bool whole = rows == WeightTile.Rows;
            for (int tile = 0; tile < Tiles; tile++)
            {
                (int first, int count) = Tile(tile);
                float* target = y + (first * yStride);
                TileFold.Fold(Sums + (first * TokenSums), count, whole ? target : _results, whole ? yStride : WeightTile.Rows);
                for (int t = 0; t < count && !whole; t++)
                {
                    new ReadOnlySpan<float>(_results + (t * WeightTile.Rows), rows).CopyTo(new Span<float>(target + (t * yStride), rows));
                }
            }
        }
    }

    /// <summary>The lines of a step to come, evenly over the lanes of the tiles that are multiplied meanwhile. Addresses are never read, so any will do.</summary>
    private struct StepAhead
    {
        private readonly long _rowBytes;
        private readonly long _scaleRowBytes;
        private readonly int _lanes;
        private byte* _data;
        private byte* _scales;
        private int _due;
        private int _rowsLeft;

        public StepAhead(in WeightMatrix weight, int row, int step, int tiles)
        {
            _rowBytes = weight.RowBytes;
            _scaleRowBytes = sizeof(ushort) * (long)Int4Group32.GroupsPerRow(weight.Columns);
            _lanes = (tiles * LaneSum.Lanes) + (TileUnpacker.StepParts * LanesOfPart);
            _rowsLeft = weight.IsEmpty || row >= weight.Rows ? 0 : WeightTile.Rows;
            _data = weight.Data + (row * _rowBytes) + (step * StepBytes);
            _scales = weight.Scales + (row * _scaleRowBytes) + (step * StepScaleBytes);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Ask(int lanes)
        {
            for (_due += lanes * WeightTile.Rows; _due >= _lanes && _rowsLeft > 0; _due -= _lanes, _rowsLeft--)
            {
                // A row's first line came with the step before, unless this is the first one.
                Sse.Prefetch1(_data);
                Sse.Prefetch1(_data + 64);
                Sse.Prefetch1(_data + 128);
                Sse.Prefetch1(_data + 192);
                Sse.Prefetch1(_data + StepBytes - 1);
                Sse.Prefetch1(_scales);
                _data += _rowBytes;
                _scales += _scaleRowBytes;
            }
        }
    }
}
