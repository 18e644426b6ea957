// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Tile products, and those of weights as stored, as machine code written at start.</summary>
internal sealed unsafe class GeneratedTileKernel : TileKernel
{
    private static readonly Lazy<GeneratedTileKernel?> s_shared = new(() => TryCreate(CodeTarget.Current));

    private readonly ExecutableMemory _code;
    private readonly delegate* unmanaged<TileArguments*, void>[] _tiles;
    private readonly Int4Products _int4Products;
    private readonly Int4TokensProducts _int4TokensProducts;

    private GeneratedTileKernel(ExecutableMemory code, GeneratedCode functions)
        : base(TileKernelKind.GeneratedAvx512Vnni)
    {
        _code = code;
        _tiles = new delegate* unmanaged<TileArguments*, void>[functions.Tiles.Count];
        for (int i = 0; i < _tiles.Length; i++)
        {
            _tiles[i] = (delegate* unmanaged<TileArguments*, void>)(code.Pointer + functions.Tiles[i]);
        }

        _int4Products = new Int4Products(code, functions);
        _int4TokensProducts = new Int4TokensProducts(code, functions);
        BFloat16Products = CpuFeatures.HasAvx512BFloat16 ? new BFloat16Products(code, functions) : null;
        Float8Products = BFloat16Products is not null && Float8Codes.IsSupported ? new Float8Products(code, functions, BFloat16Products) : null;
    }

    /// <summary>One for the process; null where CPU, runtime or system do not allow it.</summary>
    public static GeneratedTileKernel? Shared => s_shared.Value;

    /// <summary>Whether anybody has asked for <see cref="Shared"/> yet; nothing is written before that.</summary>
    public static bool IsMade => s_shared.IsValueCreated;

    public override BFloat16Products? BFloat16Products { get; }

    public override Float8Products? Float8Products { get; }

    public override bool AsksAhead => true;

    public override int MaxTokens => _tiles.Length;

    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride)
    {
        var arguments = new TileArguments
        {
            Weights = weights,
            Activations = activations,
            Lanes = scratch,
            Blocks = blocks,
            Next = ahead.Next is null ? weights : ahead.Next,
            BytesOfGroup = TileAhead.LineBytes * ahead.Lines,
            Y = y,
            YStrideBytes = yStride * sizeof(float),
        };
        _tiles[tokens - 1](&arguments);

        // The pages live as long as this object, which the running call keeps.
        GC.KeepAlive(_code);
    }

    public override void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y) =>
        _int4Products.Multiply(weight, rowBegin, rowEnd, x, y);

    /// <summary>Of 24 both take the same time on Emerald Rapids, of 32 tiles take a tenth less.</summary>
    public override int MostStoredTokens => 24;

    public override void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride, in WeightMatrix next, int nextRow)
    {
        if (x.Length >= Int4TokensCode.FewestTokens && Int4TokensProducts.CanMultiply(weight))
        {
            _int4TokensProducts.Multiply(weight, rowBegin, rowEnd, x, y, yStride, next, nextRow);
            return;
        }

        for (int t = 0; t < x.Length; t++)
        {
            MultiplyStored(weight, rowBegin, rowEnd, x[t], y + (t * yStride));
        }
    }

    /// <summary>For another target, which this CPU must be able to run; null as <see cref="Shared"/>.</summary>
    internal static GeneratedTileKernel? TryCreate(CodeTarget target)
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64 || !CpuFeatures.HasAvx512Vnni)
        {
            return null;
        }

        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.Current, target);
        return ExecutableMemory.TryCreate(functions.Bytes) is { } memory ? new GeneratedTileKernel(memory, functions) : null;
    }
}
