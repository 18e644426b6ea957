// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu.CodeGeneration;

[TestFixture]
[Category("Kernels")]
internal sealed unsafe class Float8BitsTests
{
    private const int Rows = Float8Code.Rows;
    private const int Step = Float8Codes.StepColumns;

    private static readonly CodeTarget s_target = new(PrefetchStyle.EveryLineTwice, HasGaloisField: true, HasSlowTables: true, HasSlowBFloat16: true);

    private GeneratedTileKernel _kernel = null!;

    [OneTimeSetUp]
    public void Generate()
    {
        GeneratedTileKernel? kernel = Gfni.V512.IsSupported ? GeneratedTileKernel.TryCreate(s_target) : null;
        if (kernel?.Float8Products is null)
        {
            Assert.Ignore("Needs AVX512_VBMI, AVX512_BF16 and GFNI, and executable memory.");
        }

        _kernel = kernel!;
    }

    /// <summary>In each row and, over all codes, in each place.</summary>
    [Test]
    public void Every_code_among_normal_ones_is_its_value([Values(0, 1, 2, 3)] int row)
    {
        const int Columns = 3 * Step;
        for (int code = 0; code < 256; code++)
        {
            using RandomMatrix weight = Normal(Columns, code);
            weight.Data[(row * Columns) + (code * 7 % Columns)] = (byte)code;
            float[] x = [.. Enumerable.Range(0, Columns).Select(c => MathF.Sin(c + code))];
            float[] actual = Float8ProductsTests.Multiply(_kernel.Float8Products!, weight.Matrix, x, 1, 0, Rows);
            float[] expected = [.. Enumerable.Range(0, Rows).Select(r => Float8ProductsTests.Definition(weight, r, x))];
            Assert.That(actual, Is.EqualTo(expected), $"0x{code:X2}");
            Assert.That(float.IsNaN(actual[row]), Is.EqualTo((code & 0x7F) == 0x7F), $"0x{code:X2}");
        }
    }

    /// <summary>With tables of zeros a step is a sum of zeros if they are asked, and what it should be if they are not.</summary>
    [Test]
    public void Tables_are_asked_for_subnormal_codes_and_NaN_alone()
    {
        GeneratedCode functions = GeneratedCode.Assemble(CallingConvention.Current, s_target);
        using ExecutableMemory memory = ExecutableMemory.TryCreate(functions.Bytes)!;
        using var zeros = new AlignedBuffer<byte>(256);
        using var ones = new AlignedBuffer<ushort>(Step);
        new Span<byte>(zeros.Pointer, 256).Clear();
        new Span<ushort>(ones.Pointer, Step).Fill(BFloat16.FromSingle(1));
        float* sums = stackalloc float[Rows * LaneSum.Lanes];
        for (int code = 0; code < 256; code++)
        {
            using RandomMatrix weight = Normal(Step, code);
            weight.Data[code] = (byte)code;
            var arguments = new Float8Arguments
            {
                Weights = weight.Matrix.Data,
                RowBytes = Step,
                X = (byte*)ones.Pointer,
                XEnd = (byte*)(ones.Pointer + Step),
                Sums = sums,
                Tables = zeros.Pointer,
            };
            ((delegate* unmanaged<Float8Arguments*, void>)(memory.Pointer + functions.Float8Rows))(&arguments);
            bool isNormal = (code & 0x78) != 0 && (code & 0x7F) != 0x7F;
            Assert.That(new Span<float>(sums, Rows * LaneSum.Lanes).ContainsAnyExcept(0f), Is.EqualTo(isNormal), $"0x{code:X2}");
        }
    }

    private static RandomMatrix Normal(int columns, int seed)
    {
        var weight = new RandomMatrix(WeightFormat.Float8Block, Rows, columns, seed);
        MakeNormal(weight);
        return weight;
    }

    /// <summary>Raises exponents of zero.</summary>
    internal static void MakeNormal(RandomMatrix weight)
    {
        foreach (ref byte code in weight.Data)
        {
            code |= (code & 0x78) == 0 ? (byte)0x08 : (byte)0;
        }
    }
}
