// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;
using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>How a <see cref="TileKernel"/> multiplies bytes.</summary>
internal enum TileKernelKind
{
    /// <summary>The definition.</summary>
    Scalar,

    /// <summary>.NET's 128-bit vectors; the dot product instruction on Arm64 where there is one.</summary>
    Vector128,

    /// <summary>Multiply-adds of 256 bits.</summary>
    Avx2,

    /// <summary>The dot product instruction of 256 bits.</summary>
    AvxVnni,

    /// <summary>Multiply-adds of 512 bits, ahead of <see cref="AvxVnni"/> with the 4 bits of routed experts, of which prompts multiply most, and behind it with 8 bits.</summary>
    Avx512,

    /// <summary>The dot product instruction of 512 bits, which .NET does not offer: machine code written at run time.</summary>
    GeneratedAvx512Vnni,
}

/// <summary>
/// Multiplies the 32 rows of a <see cref="WeightTile"/> with the tokens of an activation tile, and stored rows with one
/// or a few tokens. Stateless; usable by all threads at once. All kinds give the same bits.
/// </summary>
internal abstract unsafe class TileKernel
{
    protected TileKernel(TileKernelKind kind) => Kind = kind;

    public TileKernelKind Kind { get; }

    /// <summary>Whose instructions multiply bytes.</summary>
    public InstructionSet Vectors => Kind switch
    {
        TileKernelKind.Scalar => InstructionSet.Scalar,
        TileKernelKind.Vector128 => InstructionSet.Vector128,
        TileKernelKind.Avx2 or TileKernelKind.AvxVnni => InstructionSet.Avx2,
        _ => InstructionSet.Avx512,
    };

    /// <summary>Most tokens of a tile.</summary>
    public abstract int MaxTokens { get; }

    /// <summary>Whether products of several tokens ask for what comes next.</summary>
    public virtual bool AsksAhead => false;

    /// <summary>Kinds that this machine can run, the slowest first.</summary>
    public static IEnumerable<TileKernelKind> Supported => Enum.GetValues<TileKernelKind>().Where(IsSupported);

    public static bool IsSupported(TileKernelKind kind) => kind switch
    {
        TileKernelKind.Scalar => true,
        TileKernelKind.Vector128 => CpuFeatures.IsSupported(InstructionSet.Vector128),
        TileKernelKind.Avx2 => CpuFeatures.IsSupported(InstructionSet.Avx2),
        TileKernelKind.AvxVnni => CpuFeatures.IsSupported(InstructionSet.Avx2) && System.Runtime.Intrinsics.X86.AvxVnni.IsSupported,
        TileKernelKind.Avx512 => CpuFeatures.IsSupported(InstructionSet.Avx2) && CpuFeatures.IsSupported(InstructionSet.Avx512),
        _ => CodeGeneration.GeneratedTileKernel.Shared is not null,
    };

    /// <summary>The fastest kernel of this machine.</summary>
    /// <param name="allowGeneratedCode">Whether machine code may be written at run time; where not, nobody asks if it could be, which writes it.</param>
    public static TileKernel Best(bool allowGeneratedCode = true) =>
        Of(Enum.GetValues<TileKernelKind>().Last(k => (allowGeneratedCode || k != TileKernelKind.GeneratedAvx512Vnni) && IsSupported(k)));

    public static TileKernel Of(TileKernelKind kind) => kind switch
    {
        TileKernelKind.Scalar => new ScalarTileKernel(),
        TileKernelKind.Vector128 => new Vector128TileKernel(),
        TileKernelKind.Avx2 => new WideTileKernel<Vector256<int>, Avx2Products>(kind),
        TileKernelKind.AvxVnni => new WideTileKernel<Vector256<int>, VnniProducts>(kind),
        TileKernelKind.Avx512 => new WideTileKernel<Vector512<int>, Avx512Products>(kind),
        _ => CodeGeneration.GeneratedTileKernel.Shared ?? throw new PlatformNotSupportedException("This machine has no AVX-512 VNNI, or refuses executable memory."),
    };

    /// <summary>y[t * yStride + r] for the 32 rows of a tile.</summary>
    /// <param name="weights">A weight tile of <paramref name="blocks"/> x 16 groups.</param>
    /// <param name="bits8">Whether elements take all 8 bits; else at most 15.</param>
    /// <param name="activations">A tile of so many tokens.</param>
    /// <param name="tokens">1 … <see cref="MaxTokens"/>.</param>
    /// <param name="blocks">At least 1.</param>
    /// <param name="scratch"><see cref="ScratchFloats"/>.</param>
    /// <param name="ahead">What to ask for meanwhile.</param>
    /// <param name="y">Receives the sums.</param>
    /// <param name="yStride">Floats.</param>
    public abstract void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride);

    /// <summary>y[r] = Σ W[r, c] x[c] of one token, from INT4 weights as stored; the bits of a tile product.</summary>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Int4Group32"/>.</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">Rounded row of weight.Columns columns.</param>
    /// <param name="y">Row r is written to y[r].</param>
    public virtual void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y) =>
        Int4Gemv.Multiply(weight, rowBegin, rowEnd, x, y);

    /// <summary>Most tokens for which stored INT4 rows are multiplied by <see cref="MultiplyStored(in WeightMatrix, int, int, ReadOnlySpan{QuantizedRow}, float*, long, in WeightMatrix, int)"/> rather than unpacked to tiles.</summary>
    public virtual int MostStoredTokens => 1;

    /// <summary>The same for 1 … <see cref="MostStoredTokens"/> tokens: row r of token t is written to y[t * yStride + r]. May ask for <see cref="FloatGemm.Scratch"/>.</summary>
    /// <param name="weight">As above.</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">Of tokens.</param>
    /// <param name="y">Receives the sums.</param>
    /// <param name="yStride">Floats.</param>
    /// <param name="next">What is multiplied next, to be asked for meanwhile: rows of the same kind from <paramref name="nextRow"/> on. Empty, or the row behind its last one, for nothing.</param>
    /// <param name="nextRow">In it.</param>
    public virtual void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride, in WeightMatrix next, int nextRow) =>
        MultiplyStored(weight, rowBegin, rowEnd, x[0], y);

    /// <summary>How tokens are cut into tiles.</summary>
    public TokenTiles Tiles => new(MaxTokens);

    /// <summary>Products of BF16 weights with rounded activations; null where the CPU has no instruction for them that can be used.</summary>
    public virtual BFloat16Products? BFloat16Products => null;

    /// <summary>The same where they do more than multiply-adds in single precision.</summary>
    public BFloat16Products? FastBFloat16Products => CpuFeatures.HasFastBFloat16 ? BFloat16Products : null;

    /// <summary><see cref="BFloat16Products"/> of FP8 weights.</summary>
    public virtual Float8Products? Float8Products => null;

    /// <summary>Floats of scratch that <see cref="Multiply"/> needs: (16 lanes, tokens, 32 rows).</summary>
    public int ScratchFloats => LaneSum.Lanes * MaxTokens * WeightTile.Rows;
}
