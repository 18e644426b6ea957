// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// BF16 weights as stored times activations rounded to BF16. The sum of a (row, token) pair never depends on how many tokens
/// or rows a call has: see <see cref="BFloat16Code"/> for its chain, whose 16 lanes are folded by halves, and <see cref="BFloat16ScoresCode"/> for that of scores. Stateless; usable
/// by all threads at once.
/// </summary>
internal sealed unsafe partial class BFloat16Products
{
    private const int VectorColumns = BFloat16Tiles.VectorColumns;
    private const int VectorBytes = BFloat16Tiles.VectorBytes;

    /// <summary>Activations of so few tokens stay in the second-level cache while weights stream past them.</summary>
    public const long MostStreamedBytes = 768 << 10;

    /// <summary>Vectors that are folded at once.</summary>
    private const int Together = 8;

    private readonly ExecutableMemory _code;

    /// <summary>Whether rows of a block meet activations in single precision.</summary>
    private readonly bool _widens;
    private readonly delegate* unmanaged<BFloat16Arguments*, void>[] _oneRow;
    private readonly delegate* unmanaged<BFloat16Arguments*, void>[] _rows;
    private readonly delegate* unmanaged<BFloat16Arguments*, void>[] _streams;
    private readonly delegate* unmanaged<BFloat16PairsArguments*, void>[] _pairs;
    private readonly delegate* unmanaged<BFloat16RowSumArguments*, void> _rowSum;

    /// <summary>By vectors of queries: keys that a function takes at once, and where it lies.</summary>
    private readonly (int Keys, long Function)[] _scores;

    /// <summary>The same for a single key.</summary>
    private readonly long[] _scoresOfOne;

    public BFloat16Products(ExecutableMemory code, GeneratedCode functions)
    {
        _code = code;
        _widens = functions.Target.HasSlowBFloat16;
        Tiles = new TokenTiles(functions.BFloat16.Keys.Max(shape => shape.Tokens));
        _oneRow = new delegate* unmanaged<BFloat16Arguments*, void>[Tiles.MaxTokens + 1];
        _rows = new delegate* unmanaged<BFloat16Arguments*, void>[Tiles.MaxTokens + 1];
        _streams = new delegate* unmanaged<BFloat16Arguments*, void>[Tiles.MaxTokens + 1];
        foreach ((BFloat16Shape shape, long offset) in functions.BFloat16)
        {
            var function = (delegate* unmanaged<BFloat16Arguments*, void>)(code.Pointer + offset);
            (shape.Rows == 1 ? _oneRow : shape.AreStreams ? _streams : _rows)[shape.Tokens] = function;
        }

        _pairs = new delegate* unmanaged<BFloat16PairsArguments*, void>[functions.BFloat16Pairs.Count + 1];
        for (int tokens = 1; tokens < _pairs.Length; tokens++)
        {
            _pairs[tokens] = (delegate* unmanaged<BFloat16PairsArguments*, void>)(code.Pointer + functions.BFloat16Pairs[tokens - 1]);
        }

        _rowSum = (delegate* unmanaged<BFloat16RowSumArguments*, void>)(code.Pointer + functions.BFloat16RowSum);
        _scores = new (int, long)[functions.BFloat16Scores.Keys.Max(shape => shape.Vectors) + 1];
        _scoresOfOne = new long[_scores.Length];
        foreach ((BFloat16ScoresShape shape, long offset) in functions.BFloat16Scores)
        {
            if (shape.Keys == 1)
            {
                _scoresOfOne[shape.Vectors] = (long)code.Pointer + offset;
            }
            else
            {
                _scores[shape.Vectors] = (shape.Keys, (long)code.Pointer + offset);
            }
        }
    }

    /// <summary>How tokens are cut into tiles.</summary>
    public TokenTiles Tiles { get; }

    /// <summary>y[t, r] = Σ W[r, c] x[t, c] for all tokens of x.</summary>
    /// <param name="weight">(rows, columns) in BF16.</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">(tokens, columns).</param>
    /// <param name="y">Row r of token t is written to y[t * yStride + r].</param>
    /// <param name="yStride">Floats.</param>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, BFloat16Tiles x, float* y, long yStride)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(x.Columns, weight.Columns);
        if (x.Tokens == 1)
        {
            OneToken(weight, rowBegin, rowEnd, x, y);
            return;
        }

        if ((long)x.Tokens * weight.RowBytes <= MostStreamedBytes)
        {
            rowBegin = FewTokens(weight, rowBegin, rowEnd, x, y, yStride);
        }

        for (int row = rowBegin, rows; row < rowEnd; row += rows)
        {
            rows = Math.Min(RowsOfBlock(weight.RowBytes), rowEnd - row);
            byte* data = weight.Data + (row * weight.RowBytes);
            Block(weight, data, rows, x, y + row, yStride, data + (rows * weight.RowBytes), rows * weight.RowBytes);
        }
    }

    /// <summary>The same of all rows, which lie in a cache, with several tokens.</summary>
    /// <param name="weight">(rows, columns) in BF16.</param>
    /// <param name="x">(tokens, columns), at least two tokens.</param>
    /// <param name="y">Row r of token t is written to y[t * yStride + r].</param>
    /// <param name="yStride">Floats.</param>
    /// <param name="next">What comes from memory next, which is asked for; never read.</param>
    /// <param name="nextBytes">How much of it.</param>
    public void MultiplyCached(in WeightMatrix weight, BFloat16Tiles x, float* y, long yStride, byte* next, long nextBytes)
    {
        System.Diagnostics.Debug.Assert(x.Tokens > 1, "One token is multiplied by whole ranges.");
        Block(weight, weight.Data, weight.Rows, x, y, yStride, next, nextBytes);
    }

    /// <summary>Scores of queries that lie side by side in lanes: y[t, q] = Σ keys[t, c] queries[c, q].</summary>
    /// <param name="keys">(keys, columns) in BF16, as stored; any alignment; at least one key.</param>
    /// <param name="queries">Rounded, in the arrangement of <see cref="BFloat16Queries"/>.</param>
    /// <param name="scores">(keys, <see cref="BFloat16ScoresCode.Lanes"/>); lanes behind the last vector of queries are left alone.</param>
    public void Score(in WeightMatrix keys, BFloat16Queries queries, float* scores)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(queries.Columns, keys.Columns);
        System.Diagnostics.Debug.Assert(keys.Rows > 0, "Functions take at least one key.");
        (int most, long function) = _scores[queries.Vectors];
        var arguments = new BFloat16ScoresArguments
        {
            Keys = keys.Data,
            KeyBytes = keys.RowBytes,
            Queries = queries.Pair(0),
            QueriesEnd = queries.Pair(keys.Columns / 2),
            OddColumns = keys.Columns % 2,
            Scores = scores,
            Tiles = keys.Rows / most,
        };
        if (arguments.Tiles == 0)
        {
            arguments.Tiles = keys.Rows;
            function = _scoresOfOne[queries.Vectors];
        }

        var score = (delegate* unmanaged<BFloat16ScoresArguments*, void>)function;
        score(&arguments);
        if (keys.Rows > most && keys.Rows % most > 0)
        {
            // Some of the last ones were scored already; they come to the same bits.
            arguments.Keys = keys.Data + ((keys.Rows - most) * keys.RowBytes);
            arguments.Scores = scores + ((keys.Rows - most) * BFloat16ScoresCode.Lanes);
            arguments.Tiles = 1;
            score(&arguments);
        }

        GC.KeepAlive(_code);
    }

    /// <summary>y[t, c] += Σ factors[t, n] W[n, c] over the rows n of W.</summary>
    /// <param name="weights">The rows in pairs.</param>
    /// <param name="factors">(tokens, <see cref="BFloat16PairsCode.Rows"/>); those of rows that do not exist are zeros.</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="y">(tokens, columns of the weights with their padding).</param>
    /// <param name="yStride">Floats.</param>
    public void Accumulate(BFloat16Pairs weights, ushort* factors, int tokens, float* y, long yStride) =>
        AccumulateTiles(weights, factors, 2 * sizeof(ushort), BFloat16PairsCode.Rows * sizeof(ushort), tokens, y, yStride, weights.Block(0), 0);

    /// <summary>The same with the factors of a pair for all tokens side by side.</summary>
    /// <param name="weights">The rows in pairs.</param>
    /// <param name="factors">(pairs, <see cref="BFloat16ScoresCode.Lanes"/>, 2); those of rows that do not exist are zeros.</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="y">(tokens, columns of the weights with their padding).</param>
    /// <param name="yStride">Floats.</param>
    /// <param name="next">What comes from memory next, which is asked for; never read.</param>
    /// <param name="nextBytes">How much of it; of more than there is time for, the beginning.</param>
    public void AccumulateLanes(BFloat16Pairs weights, ushort* factors, int tokens, float* y, long yStride, byte* next, long nextBytes) =>
        AccumulateTiles(weights, factors, BFloat16ScoresCode.Lanes * 2 * sizeof(ushort), 2 * sizeof(ushort), tokens, y, yStride, next, nextBytes);

    /// <summary>Whether <see cref="SumRows"/> takes this matrix.</summary>
    public static bool CanSumRows(in WeightMatrix weight) =>
        weight.Format == WeightFormat.BFloat16 && weight is { Rows: > 0, Columns: > 0 } && weight.Rows % BFloat16RowSumCode.Rows == 0 &&
        weight.RowBytes % VectorBytes == 0 && (nuint)weight.Data % sizeof(ushort) == 0;

    /// <summary>y[c] = Σ factors[n] W[n, c] over the rows n of W; the bits of <see cref="Accumulate"/> from zeros. Asks for <see cref="FloatGemm.Scratch"/>.</summary>
    /// <param name="weight">One that <see cref="CanSumRows"/>.</param>
    /// <param name="factors">A BF16 number for each row.</param>
    /// <param name="next">What is read next, which is asked for; never read.</param>
    /// <param name="y">(columns).</param>
    public void SumRows(in WeightMatrix weight, ushort* factors, byte* next, float* y)
    {
        int offset = (int)((nuint)weight.Data % VectorBytes);
        int lines = (int)((weight.RowBytes + offset + VectorBytes - 1) / VectorBytes);
        int count = lines * BFloat16RowSumCode.LineColumns;
        float* sums = FloatGemm.Scratch(count);
        new Span<float>(sums, count).Clear();
        var arguments = new BFloat16RowSumArguments
        {
            Lines = weight.Data - offset,
            RowBytes = weight.RowBytes,
            Blocks = weight.Rows / BFloat16RowSumCode.Rows,
            Factors = factors,
            Sums = sums,
            SumsEnd = sums + count,
            Next = next,
        };
        _rowSum(&arguments);
        GC.KeepAlive(_code);

        // Pairing interleaves within quarters of a vector.
        for (float* line = sums; line < sums + count; line += BFloat16RowSumCode.LineColumns)
        {
            Vector512<double> low = Vector512.Load((double*)line), high = Vector512.Load((double*)line + Vector512<double>.Count);
            Avx512F.PermuteVar8x64x2(low, Vector512.Create(0, 1, 8, 9, 2, 3, 10, 11), high).Store((double*)line);
            Avx512F.PermuteVar8x64x2(low, Vector512.Create(4, 5, 12, 13, 6, 7, 14, 15), high).Store((double*)line + Vector512<double>.Count);
        }

        new ReadOnlySpan<float>(sums + (offset / sizeof(ushort)), weight.Columns).CopyTo(new Span<float>(y, weight.Columns));
    }

    private void AccumulateTiles(BFloat16Pairs weights, ushort* factors, long pairBytes, long tokenBytes, int tokens, float* y, long yStride, byte* next, long nextBytes)
    {
        int tiles = Tiles.Count(tokens);
        int blocks = weights.Columns / BFloat16PairsCode.Columns;
        long pairs = (long)blocks * tiles * weights.PairCount;
        System.Diagnostics.Debug.Assert(pairs > 0, "Functions take at least one token and one pair.");
        long bytesOfPair = Math.Min(BFloat16PairsCode.MostNextBytes, (nextBytes + pairs - 1) / pairs);
        (int size, int larger) = Math.DivRem(tokens, tiles);
        for (int block = 0; block < blocks; block++, next += tiles * weights.PairCount * bytesOfPair)
        {
            var arguments = new BFloat16PairsArguments
            {
                Pairs = weights.Block(block),
                PairCount = weights.PairCount,
                Factors = factors,
                PairFactorsBytes = pairBytes,
                TokenFactorsBytes = tokenBytes,
                Sums = y + (block * BFloat16PairsCode.Columns),
                SumsStrideBytes = sizeof(float) * yStride,
                Tiles = larger,
                Next = next,
                NextBytes = bytesOfPair,
            };
            if (larger > 0)
            {
                _pairs[size + 1](&arguments);
            }

            arguments.Tiles = tiles - larger;
            _pairs[size](&arguments);
        }

        GC.KeepAlive(_code);
    }

    private void OneToken(in WeightMatrix weight, int rowBegin, int rowEnd, BFloat16Tiles x, float* y)
    {
        const int Streams = BFloat16Code.Rows;
        int quarter = (rowEnd - rowBegin) / Streams;
        float* sums = stackalloc float[2 * Streams * LaneSum.Lanes];
        var arguments = new BFloat16Arguments
        {
            Weights = weight.Data + (rowBegin * weight.RowBytes),
            RowBytes = quarter * weight.RowBytes,
            X = x.Tile(0),
            XEnd = x.Tile(0) + (weight.Columns / VectorColumns * VectorBytes),
            RestMask = RestMask(weight.Columns),
        };
        for (int i = 0; i < quarter; i++)
        {
            arguments.Sums = sums + (i % 2 * Streams * LaneSum.Lanes);
            _streams[1](&arguments);
            arguments.Weights += weight.RowBytes;
            StreamSums.Fold(sums, i, quarter, y + rowBegin);
        }

        arguments.Weights = weight.Data + ((rowBegin + (Streams * quarter)) * weight.RowBytes);
        arguments.Sums = sums;
        for (int row = rowBegin + (Streams * quarter); row < rowEnd; row++, arguments.Weights += weight.RowBytes)
        {
            _oneRow[1](&arguments);
            y[row] = Lanes512.Sum(Lanes512.Load(sums));
        }

        GC.KeepAlive(_code);
    }

    /// <summary>Four rows at a time, a quarter of the range apart, for all tokens, from memory to the first-level cache.</summary>
    /// <returns>Behind the last row that was computed: up to three are left.</returns>
    private int FewTokens(in WeightMatrix weight, int rowBegin, int rowEnd, BFloat16Tiles x, float* y, long yStride)
    {
        const int Streams = BFloat16Code.Rows;
        int quarter = (rowEnd - rowBegin) / Streams;
        float* sums = FloatGemm.Scratch(((Streams * Tiles.MaxTokens) + Together) * LaneSum.Lanes);
        var arguments = new BFloat16Arguments
        {
            Weights = weight.Data + (rowBegin * weight.RowBytes),
            RowBytes = quarter * weight.RowBytes,
            RestMask = RestMask(weight.Columns),
            Sums = sums,
        };
        for (int i = 0; i < quarter; i++, arguments.Weights += weight.RowBytes)
        {
            for (int first = 0, tokens; first < x.Tokens; first += tokens)
            {
                tokens = Tiles.Next(x.Tokens - first);
                arguments.X = x.Tile(first);
                arguments.XEnd = arguments.X + ((long)(weight.Columns / VectorColumns) * tokens * VectorBytes);
                _streams[tokens](&arguments);
                FoldStreams(tokens, sums, y + (first * yStride) + rowBegin + i, yStride, quarter);
            }
        }

        GC.KeepAlive(_code);
        return rowBegin + (Streams * quarter);
    }

    private static void FoldStreams(int tokens, float* sums, float* y, long yStride, long quarter)
    {
        switch (tokens)
        {
            case 1:
                FoldStreams<OneToken>(sums, y, yStride, quarter);
                break;
            case 2:
                FoldStreams<TwoTokens>(sums, y, yStride, quarter);
                break;
            case 3:
                FoldStreams<ThreeTokens>(sums, y, yStride, quarter);
                break;
            case 4:
                FoldStreams<FourTokens>(sums, y, yStride, quarter);
                break;
            case 5:
                FoldStreams<FiveTokens>(sums, y, yStride, quarter);
                break;
            default:
                FoldStreams<SixTokens>(sums, y, yStride, quarter);
                break;
        }
    }

    /// <summary>Four sums a token to its four rows, a <paramref name="quarter"/> apart; without a loop, whose end would wait for the products before it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FoldStreams<TTokens>(float* sums, float* y, long yStride, long quarter)
        where TTokens : ITokenCount
    {
        Lanes512.Sum8(sums, sums);
        if (TTokens.Count > 2)
        {
            Lanes512.Sum8(sums + (Together * LaneSum.Lanes), sums + Together);
        }

        if (TTokens.Count > 4)
        {
            Lanes512.Sum8(sums + (2 * Together * LaneSum.Lanes), sums + (2 * Together));
        }

        Spread<TTokens>(0, sums, y, quarter);
        Spread<TTokens>(1, sums, y + yStride, quarter);
        Spread<TTokens>(2, sums, y + (2 * yStride), quarter);
        Spread<TTokens>(3, sums, y + (3 * yStride), quarter);
        Spread<TTokens>(4, sums, y + (4 * yStride), quarter);
        Spread<TTokens>(5, sums, y + (5 * yStride), quarter);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Spread<TTokens>(int token, float* sums, float* y, long quarter)
        where TTokens : ITokenCount
    {
        if (token >= TTokens.Count)
        {
            return;
        }

        sums += token * BFloat16Code.Rows;
        y[0] = sums[0];
        y[quarter] = sums[1];
        y[2 * quarter] = sums[2];
        y[3 * quarter] = sums[3];
    }

    private static ulong RestMask(int columns) => (1UL << (columns % VectorColumns)) - 1;
}
