// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Tile products and products of stored INT4 rows as machine code written at start.</summary>
internal sealed unsafe class GeneratedTileKernel : TileKernel
{
    private const int BlockRows = WeightTile.Rows;

    private static readonly Lazy<GeneratedTileKernel?> s_shared = new(() => TryCreate(CpuFeatures.PrefetchStyle));

    private readonly ExecutableMemory _code;
    private readonly delegate* unmanaged<byte*, byte*, float*, long, byte*, void>[] _tiles;
    private readonly delegate* unmanaged<Int4RowsArguments*, void> _int4Rows;
    private readonly delegate* unmanaged<Int4TokensArguments*, void>[] _int4Tokens;

    private GeneratedTileKernel(ExecutableMemory code, GeneratedCode functions)
        : base(TileKernelKind.GeneratedAvx512Vnni)
    {
        _code = code;
        _tiles = new delegate* unmanaged<byte*, byte*, float*, long, byte*, void>[functions.Tiles.Count];
        for (int i = 0; i < _tiles.Length; i++)
        {
            _tiles[i] = (delegate* unmanaged<byte*, byte*, float*, long, byte*, void>)(code.Pointer + functions.Tiles[i]);
        }

        _int4Rows = (delegate* unmanaged<Int4RowsArguments*, void>)(code.Pointer + functions.Int4Rows);
        _int4Tokens = new delegate* unmanaged<Int4TokensArguments*, void>[functions.Int4Tokens.Count];
        for (int i = 0; i < _int4Tokens.Length; i++)
        {
            _int4Tokens[i] = (delegate* unmanaged<Int4TokensArguments*, void>)(code.Pointer + functions.Int4Tokens[i]);
        }

        BFloat16Products = CpuFeatures.HasAvx512BFloat16 ? new BFloat16Products(code, functions) : null;
    }

    /// <summary>One for the process; null where CPU, runtime or system do not allow it.</summary>
    public static GeneratedTileKernel? Shared => s_shared.Value;

    /// <summary>Whether anybody has asked for <see cref="Shared"/> yet; nothing is written before that.</summary>
    public static bool IsMade => s_shared.IsValueCreated;

    public override BFloat16Products? BFloat16Products { get; }

    public override int PrefetchedLines => TileCode.LinesOfGroup;

    public override int MaxTokens => _tiles.Length;

    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* lanes, byte* prefetch)
    {
        _tiles[tokens - 1](weights, activations, lanes, blocks, prefetch is null ? weights : prefetch);

        // The pages live as long as this object, which the running call keeps.
        GC.KeepAlive(_code);
    }

    public override void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        if (rowBegin < rowEnd)
        {
            var arguments = new Int4RowsArguments(weight, rowBegin, rowEnd, x, y);
            _int4Rows(&arguments);
            GC.KeepAlive(_code);
        }
    }

    /// <summary>On two cores rows as stored are ahead for six tokens by far, on one for four; for eight neither is safely ahead.</summary>
    public override int MostStoredTokens => 6;

    public override void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride)
    {
        if (x.Length == 1)
        {
            MultiplyStored(weight, rowBegin, rowEnd, x[0], y);
            return;
        }

        byte* tiles = (byte*)FloatGemm.Scratch(StepTiles.Bytes(x.Length, weight.Columns) / sizeof(float));
        float* results = stackalloc float[BlockRows * Int4TokensCode.MostTokens];
        var cut = new TokenTiles(Int4TokensCode.MostTokens);
        for (int first = 0, tokens; first < x.Length; first += tokens)
        {
            tokens = cut.Next(x.Length - first);
            StepTiles.Write(x.Slice(first, tokens), tiles + StepTiles.Bytes(first, weight.Columns));
        }

        for (int row = rowBegin; row < rowEnd; row += BlockRows)
        {
            int end = Math.Min(row + BlockRows, rowEnd);
            if (x.Length > Int4TokensCode.MostTokens)
            {
                // Then it stays in the second-level cache for all tiles.
                TileUnpacker.Touch(weight, row, 0);
            }

            for (int first = 0, tokens; first < x.Length; first += tokens)
            {
                tokens = cut.Next(x.Length - first);
                var arguments = new Int4TokensArguments(weight, row, end, tiles + StepTiles.Bytes(first, weight.Columns), tokens, results);
                _int4Tokens[tokens - 1](&arguments);
                Write(results, end - row, tokens, y + (first * yStride) + row, yStride);
            }
        }

        GC.KeepAlive(_code);
    }

    /// <summary>(rows, 4) results by tokens.</summary>
    private static void Write(float* results, int rows, int tokens, float* y, long yStride)
    {
        for (int t = 0; t < tokens; t++)
        {
            float* target = y + (t * yStride);
            for (int row = 0; row < rows; row++)
            {
                target[row] = results[(row * Int4TokensCode.MostTokens) + t];
            }
        }
    }

    /// <summary>With a given way to ask for weights; null as <see cref="Shared"/>.</summary>
    internal static GeneratedTileKernel? TryCreate(PrefetchStyle style)
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64 || !CpuFeatures.HasAvx512Vnni)
        {
            return null;
        }

        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.Current, style);
        return ExecutableMemory.TryCreate(functions.Bytes) is { } memory ? new GeneratedTileKernel(memory, functions) : null;
    }
}
