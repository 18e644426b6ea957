// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.CodeGeneration;

/// <summary>Each function of several tokens by itself, with all of its memory directly before pages that nobody may touch.</summary>
[TestFixture]
[Category("Kernels")]
internal sealed unsafe class Int4TokensCodeTests
{
    private static IEnumerable<Int4TokensShape> Shapes => Int4TokensCode.Shapes;

    /// <summary>Two blocks of five whole steps, or one of four and a part.</summary>
    [Test]
    public void Memory_is_kept_to(
        [ValueSource(nameof(Shapes))] Int4TokensShape shape, [ValueSource(typeof(CodeTargets), nameof(CodeTargets.Runnable))] CodeTarget target, [Values(false, true)] bool hasRest)
    {
        if (GeneratedTileKernel.Shared is null)
        {
            Assert.Ignore("Needs AVX-512 VNNI, and executable memory.");
        }

        int blocks = hasRest ? 1 : 2, tiles = shape.SeveralTiles ? 2 : 1;
        int rows = blocks * Int4StepCode.Rows, columns = hasRest ? 600 : 640, tokens = tiles * shape.Tokens;
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.Current, target);
        using ExecutableMemory code = ExecutableMemory.TryCreate(functions.Bytes)!;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, rows, columns, 1);
        using QuantizedRows rounded = TileKernelTests.Rounded(tokens, columns, 2);
        QuantizedRow[] x = [.. Enumerable.Range(0, tokens).Select(rounded.Row)];
        int tileBytes = (int)StepTiles.Bytes(shape.Tokens, columns);
        using var data = new GuardedBuffer(weight.Data.Length);
        using var scales = new GuardedBuffer(weight.Scales.Length);
        using var activations = new GuardedBuffer(tiles * tileBytes);
        using var unpacked = new GuardedBuffer(Int4StepCode.Bytes);
        using var sums = new GuardedBuffer(tiles * Int4TokensCode.SumBytes(shape.Tokens));
        using var rest = new GuardedBuffer(Int4StepCode.Rows * Int4StepCode.RowBytes);
        using var restScales = new GuardedBuffer(Int4StepCode.Rows * Int4StepCode.RowScaleBytes);
        using var y = new GuardedBuffer(tokens * rows * sizeof(float));
        weight.Data.CopyTo(data.Span);
        weight.Scales.CopyTo(scales.Span);
        sums.Span.Fill(0xFF);
        float** results = stackalloc float*[tiles];
        for (int tile = 0; tile < tiles; tile++)
        {
            StepTiles.Write(x.AsSpan(tile * shape.Tokens, shape.Tokens), columns, activations.Pointer + (tile * tileBytes));
            results[tile] = (float*)y.Pointer + (tile * shape.Tokens * rows);
        }

        int rowBytes = Int4Group32.RowBytes(columns), rowScaleBytes = Int4Group32.GroupsPerRow(columns) * sizeof(ushort), whole = columns / StepTiles.Columns;
        for (int row = 0; row < rows && hasRest; row++)
        {
            weight.Data.Slice(row * rowBytes, rowBytes)[(whole * Int4StepCode.RowBytes)..].CopyTo(rest.Span[(row * Int4StepCode.RowBytes)..]);
            weight.Scales.Slice(row * rowScaleBytes, rowScaleBytes)[(whole * Int4StepCode.RowScaleBytes)..].CopyTo(restScales.Span[(row * Int4StepCode.RowScaleBytes)..]);
        }

        var arguments = new Int4TokensArguments
        {
            Data = data.Pointer,
            Scales = scales.Pointer,
            RowBytes = rowBytes,
            ScaleRowBytes = rowScaleBytes,
            Blocks = blocks,
            X = activations.Pointer,
            Tiles = tiles,
            TileBytes = tileBytes,
            Steps = whole,
            Rest = hasRest ? rest.Pointer : null,
            RestScales = restScales.Pointer,
            Unpacked = unpacked.Pointer,
            Sums = sums.Pointer,
            Next = data.Pointer,
            NextScales = scales.Pointer,
            Y = results,
            YStride = rows * sizeof(float),
        };
        ((delegate* unmanaged<Int4TokensArguments*, void>)(code.Pointer + functions.Int4Tokens[shape]))(&arguments);

        var expected = new float[rows];
        for (int t = 0; t < tokens; t++)
        {
            fixed (float* sumsOfToken = expected)
            {
                Int4Gemv.Multiply(InstructionSet.Scalar, weight.Matrix, 0, rows, x[t], sumsOfToken);
            }

            Assert.That(new Span<float>((float*)y.Pointer + (t * rows), rows).ToArray(), Is.EqualTo(expected), $"token {t}");
        }
    }
}
