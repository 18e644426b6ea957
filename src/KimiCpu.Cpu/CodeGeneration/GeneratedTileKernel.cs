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
    private static readonly Lazy<GeneratedTileKernel?> s_shared = new(() => TryCreate(CpuFeatures.PrefetchStyle));

    private readonly ExecutableMemory _code;
    private readonly delegate* unmanaged<byte*, byte*, float*, long, byte*, void>[] _tiles;
    private readonly delegate* unmanaged<Int4RowsArguments*, void> _int4Rows;

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
