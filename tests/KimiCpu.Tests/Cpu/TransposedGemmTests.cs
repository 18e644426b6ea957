// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class TransposedGemmTests
{
    private static IEnumerable<InstructionSet> Sets => CpuFeatures.Supported;

    private static IEnumerable<(int Rows, int Columns)> Sizes => [(1, 1), (7, 31), (8, 32), (9, 33), (15, 64), (16, 70), (128, 512), (130, 515)];

    /// <summary>Eight tokens and one take different ways through the weights.</summary>
    [Test]
    public void Tokens_never_change_a_bit(
        [ValueSource(nameof(Sets))] InstructionSet set, [Values(WeightFormat.BFloat16, WeightFormat.Float32)] WeightFormat format)
    {
        foreach ((int rows, int columns) in Sizes)
        {
            const int Tokens = 9;
            using var weight = new RandomMatrix(format, rows, columns, rows + columns);
            float[] x = Numbers(Tokens * rows, 1);
            float[] before = Numbers(Tokens * columns, 2);
            float[] together = Run(set, weight.Matrix, columns, x, Tokens, before);
            for (int t = 0; t < Tokens; t++)
            {
                float[] alone = Run(set, weight.Matrix, columns, x[(t * rows)..((t + 1) * rows)], 1, before[(t * columns)..((t + 1) * columns)]);
                Assert.That(together.AsSpan(t * columns, columns).ToArray(), Is.EqualTo(alone), $"{rows} x {columns}, token {t}");
            }
        }
    }

    [Test]
    public void Sums_are_added_to_what_was_there(
        [ValueSource(nameof(Sets))] InstructionSet set, [Values(WeightFormat.BFloat16, WeightFormat.Float32)] WeightFormat format, [Values(1, 8)] int tokens)
    {
        foreach ((int rows, int columns) in Sizes)
        {
            using var weight = new RandomMatrix(format, rows, columns, rows);
            float[] x = Numbers(tokens * rows, 3);
            float[] before = Numbers(tokens * columns, 4);
            float[] actual = Run(set, weight.Matrix, columns, x, tokens, before);
            for (int t = 0; t < tokens; t++)
            {
                for (int c = 0; c < columns; c++)
                {
                    double[] products = [.. Enumerable.Range(0, rows).Select(n => x[(t * rows) + n] * (double)ReferenceLinear.Element(weight.Matrix, n, c))];
                    double expected = before[(t * columns) + c] + products.Sum();
                    Assert.That(actual[(t * columns) + c], Is.EqualTo(expected).Within(1e-6 * (1 + products.Sum(Math.Abs))), $"{rows} x {columns}, token {t}, column {c}");
                }
            }
        }
    }

    private static float[] Numbers(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }

    private static float[] Run(InstructionSet set, WeightMatrix weight, int columns, float[] x, int tokens, float[] before)
    {
        float[] result = [.. before];
        fixed (float* source = x)
        fixed (float* y = result)
        {
            TransposedGemm.Accumulate(set, weight, source, weight.Rows, tokens, y, columns);
        }

        return result;
    }
}
