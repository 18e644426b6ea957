// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class ActivationQuantizerTests
{
    private static IEnumerable<InstructionSet> Sets => CpuFeatures.Supported;

    [Test]
    public void Every_path_gives_the_same_bits([ValueSource(nameof(Sets))] InstructionSet set)
    {
        var random = new Random(4);
        foreach (int columns in Enumerable.Range(1, 200).Append(2048))
        {
            using var buffer = new GuardedBuffer(4 * columns);
            var x = new Span<float>(buffer.Pointer, columns);
            foreach (ref float value in x)
            {
                // Ties at .5 included: multiples of a half against a maximum of 127.
                value = columns % 3 == 0 ? random.Next(-254, 255) / 2f : (random.NextSingle() - 0.5f) * MathF.Pow(10, random.Next(-42, 38));
            }

            if (columns % 7 == 0)
            {
                x[columns / 2] = columns % 2 == 0 ? float.NaN : float.NegativeInfinity;
            }

            using QuantizedRows expected = Run(InstructionSet.Scalar, buffer, columns);
            using QuantizedRows actual = Run(set, buffer, columns);
            int groups = expected.Row(0).Groups;
            Assert.Multiple(() =>
            {
                Assert.That(new Span<sbyte>(actual.Row(0).Even, groups * 32).ToArray(), Is.EqualTo(new Span<sbyte>(expected.Row(0).Even, groups * 32).ToArray()), $"{columns}");
                Assert.That(new Span<float>(actual.Row(0).Scales, groups).ToArray(), Is.EqualTo(new Span<float>(expected.Row(0).Scales, groups).ToArray()), $"{columns}");
                Assert.That(new Span<int>(actual.Row(0).Corrections, groups).ToArray(), Is.EqualTo(new Span<int>(expected.Row(0).Corrections, groups).ToArray()), $"{columns}");
            });
        }
    }

    [Test]
    public void Values_are_within_half_a_step()
    {
        const int Columns = 320;
        var random = new Random(5);
        using var buffer = new GuardedBuffer(4 * Columns);
        var x = (float*)buffer.Pointer;
        for (int c = 0; c < Columns; c++)
        {
            x[c] = (random.NextSingle() - 0.5f) * 10;
        }

        using QuantizedRows rows = Run(CpuFeatures.Best, buffer, Columns);
        QuantizedRow row = rows.Row(0);
        for (int c = 0; c < Columns; c++)
        {
            float value = row.Scales[c / 32] * ((c & 1) == 0 ? row.Even[c / 2] : row.Odd[c / 2]);
            Assert.That(value, Is.EqualTo(x[c]).Within(row.Scales[c / 32] * 0.5001f));
        }
    }

    private static QuantizedRows Run(InstructionSet set, GuardedBuffer x, int columns)
    {
        var rows = new QuantizedRows();
        rows.Resize(1, columns);
        ActivationQuantizer.Quantize(set, (float*)x.Pointer, columns, rows.Row(0));
        return rows;
    }
}
