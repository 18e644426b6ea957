// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class Int4GemvTests
{
    /// <summary>A way to multiply: an instruction set of .NET's, or the generated code.</summary>
    public sealed record Path(InstructionSet Set, bool Generated)
    {
        public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
        {
            if (Generated)
            {
                TileKernel.Of(TileKernelKind.GeneratedAvx512Vnni).MultiplyStored(weight, rowBegin, rowEnd, x, y);
            }
            else
            {
                Int4Gemv.Multiply(Set, weight, rowBegin, rowEnd, x, y);
            }
        }

        public override string ToString() => Generated ? "generated" : Set.ToString();
    }

    private static readonly Path s_scalar = new(InstructionSet.Scalar, Generated: false);

    private static IEnumerable<Path> Sets =>
    [
        .. CpuFeatures.Supported.Select(set => new Path(set, Generated: false)),
        .. TileKernel.IsSupported(TileKernelKind.GeneratedAvx512Vnni) ? [new Path(InstructionSet.Avx512, Generated: true)] : Array.Empty<Path>(),
    ];

    private static IEnumerable<InstructionSet> InstructionSets => CpuFeatures.Supported;

    private static IEnumerable<int> Columns => [.. Enumerable.Range(1, 140), 255, 256, 257, 511, 512, 513, 544, 1000, 1024, 1536, 2048, 2080];

    [Test]
    public void Every_path_gives_the_scalar_result_at_every_width([ValueSource(nameof(Sets))] Path path)
    {
        foreach (int columns in Columns)
        {
            using var weight = new RandomMatrix(WeightFormat.Int4Group32, 3, columns, columns);
            float[] x = Activations(columns, columns);
            using QuantizedRows rounded = Quantize(x, columns);
            float[] expected = Run(s_scalar, weight.Matrix, rounded, 1);
            Assert.That(Run(path, weight.Matrix, rounded, 1), Is.EqualTo(expected), $"{columns} columns");
        }
    }

    /// <summary>Tokens come in any order, and results of other rows and tokens stay as they are.</summary>
    [Test]
    public void Several_tokens_give_the_bits_of_each_alone([ValueSource(nameof(InstructionSets))] InstructionSet set)
    {
        const int Rows = 3, Stride = 5;
        foreach (int columns in Columns)
        {
            using var weight = new RandomMatrix(WeightFormat.Int4Group32, Rows, columns, columns);
            using QuantizedRows rounded = Quantize(Activations(Int4Gemv.MostTokens * columns, columns), columns);
            float[] expected = Run(s_scalar, weight.Matrix, rounded, Int4Gemv.MostTokens);
            for (int tokens = 1; tokens <= Int4Gemv.MostTokens; tokens++)
            {
                int[] order = [.. Enumerable.Range(0, tokens).Select(t => (t + tokens - 1) % Int4Gemv.MostTokens)];
                QuantizedRow[] x = [.. order.Select(rounded.Row)];
                var actual = new float[tokens * Stride];
                actual.AsSpan().Fill(-1);
                fixed (float* y = actual)
                {
                    Int4Gemv.MultiplyTokens(set, weight.Matrix, 0, 1, x, y, Stride);
                    Int4Gemv.MultiplyTokens(set, weight.Matrix, 1, Rows, x, y, Stride);
                }

                float[] wanted = [.. order.SelectMany(t => expected.AsSpan(t * Rows, Rows).ToArray().Concat([-1f, -1f]))];
                Assert.That(actual, Is.EqualTo(wanted), $"{columns} columns, {tokens} tokens");
            }
        }
    }

    [Test]
    public void Extreme_weights_and_activations_of_several_tokens_do_not_saturate(
        [ValueSource(nameof(InstructionSets))] InstructionSet set, [Values(0x00, 0xFF, 0x0F, 0xF0)] int packed, [Values(2, 3)] int tokens)
    {
        const int Columns = 1024;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, 1, Columns, 3);
        weight.Data.Fill((byte)packed);
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(weight.Scales).Fill(0x3F80);
        using QuantizedRows rounded = Quantize([.. Enumerable.Range(0, tokens * Columns).Select(i => i / Columns % 2 == 0 ? 127f : -127f)], Columns);
        var actual = new float[tokens];
        fixed (float* y = actual)
        {
            Int4Gemv.MultiplyTokens(set, weight.Matrix, 0, 1, [.. Enumerable.Range(0, tokens).Select(rounded.Row)], y, 1);
        }

        float first = 127f * ((packed & 15) - 8 + (packed >> 4) - 8) * (Columns / 2);
        Assert.That(actual, Is.EqualTo(Enumerable.Range(0, tokens).Select(t => t % 2 == 0 ? first : -first)));
    }

    [Test]
    public void Scalar_result_is_the_exact_one_of_the_rounded_activations()
    {
        const int Columns = 1000;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, 5, Columns, 1);
        using QuantizedRows rounded = Quantize(Activations(Columns, 2), Columns);
        float[] x = Dequantize(rounded, Columns);
        var expected = new float[5];
        ReferenceLinear.Multiply(weight.Matrix, x, 1, expected);
        AssertClose(Run(s_scalar, weight.Matrix, rounded, 1), expected, Magnitude(weight.Matrix, x), "scalar");
    }

    /// <summary>All nibbles 0 (-8) or 15 (7) against the largest activations of either sign: the int16 sums' extremes.</summary>
    [Test]
    public void Extreme_weights_and_activations_do_not_saturate(
        [ValueSource(nameof(Sets))] Path path, [Values(0x00, 0xFF, 0x0F, 0xF0)] int packed, [Values(1, -1)] int sign)
    {
        const int Columns = 1024;
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, 2, Columns, 3);
        weight.Data.Fill((byte)packed);
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(weight.Scales).Fill(0x3F80);
        float[] x = [.. Enumerable.Repeat(sign * 127f, Columns)];
        using QuantizedRows rounded = Quantize(x, Columns);
        int low = (packed & 15) - 8;
        int high = (packed >> 4) - 8;
        float expected = sign * 127f * (low + high) * (Columns / 2);
        Assert.That(Run(path, weight.Matrix, rounded, 1), Is.All.EqualTo(expected));
    }

    [Test]
    public void Row_ranges_never_change_a_bit([ValueSource(nameof(Sets))] Path path)
    {
        foreach (int columns in new[] { 96, 512, 1000, 2048 })
        {
            using var weight = new RandomMatrix(WeightFormat.Int4Group32, 7, columns, columns);
            using QuantizedRows rounded = Quantize(Activations(columns, 5), columns);
            var parts = new float[7];
            fixed (float* y = parts)
            {
                path.Multiply(weight.Matrix, 0, 3, rounded.Row(0), y);
                path.Multiply(weight.Matrix, 3, 7, rounded.Row(0), y);
            }

            Assert.That(parts, Is.EqualTo(Run(path, weight.Matrix, rounded, 1)), $"{columns} columns");
        }
    }

    [Test]
    public void Values_that_are_not_finite_reach_the_result(
        [ValueSource(nameof(Sets))] Path path, [Values(float.NaN, float.PositiveInfinity, float.NegativeInfinity)] float bad, [Values(70, 512)] int columns)
    {
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, 2, columns, 9);
        float[] x = Activations(columns, 1);
        x[columns - 3] = bad;
        using QuantizedRows rounded = Quantize(x, columns);
        Assert.That(Run(path, weight.Matrix, rounded, 1), Is.All.Matches<float>(y => !float.IsFinite(y)));

        using QuantizedRows fine = Quantize(Activations(columns, 1), columns);
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(weight.Scales)[0] = BFloat16.FromSingle(bad);
        Assert.That(float.IsFinite(Run(path, weight.Matrix, fine, 1)[0]), Is.False);
    }

    [Test]
    public void Zero_activations_give_zero([ValueSource(nameof(Sets))] Path path)
    {
        using var weight = new RandomMatrix(WeightFormat.Int4Group32, 4, 700, 9);
        using QuantizedRows rounded = Quantize(new float[700], 700);
        Assert.That(Run(path, weight.Matrix, rounded, 1), Is.All.Zero);
    }

    private static float[] Activations(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)((random.NextDouble() - 0.5) * Math.Exp(2 * random.NextDouble())))];
    }

    private static QuantizedRows Quantize(float[] x, int columns)
    {
        var rows = new QuantizedRows();
        rows.Resize(x.Length / columns, columns);
        fixed (float* source = x)
        {
            for (int row = 0; row < rows.Rows; row++)
            {
                ActivationQuantizer.Quantize(InstructionSet.Scalar, source + (row * columns), columns, rows.Row(row));
            }
        }

        return rows;
    }

    private static float[] Dequantize(QuantizedRows rows, int columns)
    {
        QuantizedRow row = rows.Row(0);
        return [.. Enumerable.Range(0, columns).Select(c => row.Scales[c / 32] * ((c & 1) == 0 ? row.Even[c / 2] : row.Odd[c / 2]))];
    }

    private static float[] Run(Path path, WeightMatrix weight, QuantizedRows x, int tokens)
    {
        var result = new float[tokens * weight.Rows];
        fixed (float* y = result)
        {
            for (int t = 0; t < tokens; t++)
            {
                path.Multiply(weight, 0, weight.Rows, x.Row(t), y + (t * weight.Rows));
            }
        }

        return result;
    }

    /// <summary>Σ |w x|, what rounding errors are relative to: the bias of 8 is added and taken off again, so of (|w| + 8).</summary>
    private static double Magnitude(WeightMatrix weight, float[] x) =>
        x.Select((value, c) => Math.Abs(value) * (Math.Abs(ReferenceLinear.Element(weight, 0, c)) + 0.4)).Sum();

    private static void AssertClose(float[] actual, float[] expected, double magnitude, string what)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.That(actual[i], Is.EqualTo(expected[i]).Within(1e-6 * magnitude), $"{what}, row {i}");
        }
    }
}
