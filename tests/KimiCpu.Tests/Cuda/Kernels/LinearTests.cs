// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Tests.Cpu;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Linear layers of every format over ragged shapes and batches, against double precision.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class LinearTests
{
    /// <summary>Of the sum of the products' magnitudes: single-precision sums of up to 2,100 products, and an approximate root or exponential before.</summary>
    private const double Tolerance = 4e-6;

    /// <summary>What is not in two BF16 parts of an input, 2^-18 of it, comes to that.</summary>
    internal const double TensorTolerance = 8e-6;

    private static readonly (WeightFormat Stored, DeviceFormat Device)[] s_formats =
    [
        (WeightFormat.BFloat16, DeviceFormat.BFloat16), (WeightFormat.Float8Block, DeviceFormat.Float8), (WeightFormat.BFloat16, DeviceFormat.Int8),
        (WeightFormat.Float32, DeviceFormat.Float32), (WeightFormat.Float16, DeviceFormat.Float32), (WeightFormat.Int4Group32, DeviceFormat.Int8),
    ];

    [Test]
    public void Products_agree_with_double_precision([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format, [Values] LinearInput mode)
    {
        using var harness = new KernelHarness();
        foreach ((int rows, int columns) in new[] { (1, 16), (9, 33), (17, 1024), (23, 1102), (5, 2056) })
        {
            foreach (int batch in new[] { 1, 3, 5, 8, 11 })
            {
                Check(harness, format, rows, secondRows: 0, columns, batch, mode, accumulate: rows == 9, mapped: rows == 5);
            }
        }
    }

    /// <summary>Factors of whole steps, one and several of a row; a step that ends inside; fewer steps than warps, and more.</summary>
    [Test]
    public void Factors_of_whole_steps_suit_the_tensor_cores([Values(128, 256)] int block, [Values] LinearInput mode)
    {
        using var harness = new KernelHarness();
        foreach ((int rows, int columns) in new[] { (16, 128), (17, 132), (40, 1536), (33, 2104), (3, 2308) })
        {
            foreach (int batch in new[] { 1, 8, 9 })
            {
                Check(harness, (WeightFormat.Float8Block, DeviceFormat.Float8), rows, secondRows: 0, columns, batch, mode, accumulate: rows == 17, mapped: rows == 33, block);
            }
        }
    }

    [TestCase(LinearInput.Normalized, false)]
    [TestCase(LinearInput.Plain, true)]
    public void Two_weights_share_an_input(LinearInput mode, bool accumulate)
    {
        using var harness = new KernelHarness();
        foreach ((WeightFormat Stored, DeviceFormat Device) format in s_formats)
        {
            Check(harness, format, rows: 13, secondRows: 22, columns: 160, batch: 6, mode, accumulate, mapped: false);
            Check(harness, format, rows: 137, secondRows: 22, columns: 260, batch: 2, mode, accumulate, mapped: false, block: 128);
        }
    }

    /// <summary>silu(gate) * up in place of either, of rows that are no multiple of a block's.</summary>
    [Test]
    public void Gate_and_up_are_multiplied_together([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format, [Values(1, 3, 9)] int batch)
    {
        const int Rows = 133;
        const int Columns = 2308;
        using var harness = new KernelHarness();
        using var first = new RandomMatrix(format.Stored, Rows, Columns, seed: 1, 128);
        using var second = new RandomMatrix(format.Stored, Rows, Columns, seed: 2, 128);
        DeviceWeight gate = harness.Put(first.Matrix, format.Device);
        DeviceWeight up = harness.Put(second.Matrix, format.Device);
        Assert.That(KernelSet.SuitsGate(gate, up), Is.EqualTo(format.Device != DeviceFormat.Float32));
        if (format.Device == DeviceFormat.Float32)
        {
            return;
        }

        float[] input = KernelHarness.Random(batch * Columns, seed: 3);
        float[] gain = KernelHarness.Random(Columns, seed: 4);
        var arguments = new LinearArguments
        {
            First = gate.Matrix,
            Second = up.Matrix,
            FirstOutput = harness.New<float>(batch * Rows),
            SecondOutput = harness.New<float>(batch * Rows),
            Input = harness.Put<float>(input),
            Aside = harness.Put<float>(gain),
            Batch = (uint)batch,
            Mode = LinearInput.Normalized,
            Epsilon = 1e-5f,
        };
        harness.Kernels.Linear(harness.Stream, format.Device, arguments);
        float[] gates = harness.Get<float>(arguments.FirstOutput, batch * Rows);
        float[] ups = harness.Get<float>(arguments.SecondOutput, batch * Rows);
        arguments.FirstOutput = harness.New<float>(batch * Rows);
        arguments.SecondOutput = 0;
        arguments.Output = LinearOutput.Gated;
        harness.Kernels.Linear(harness.Stream, format.Device, arguments);
        float[] products = harness.Get<float>(arguments.FirstOutput, batch * Rows);
        for (int i = 0; i < products.Length; i++)
        {
            double expected = gates[i] / (1 + Math.Exp(-gates[i])) * ups[i];
            // The exponent is rounded before the exponential.
            KernelHarness.AssertClose(expected, products[i], (1e-6 * (1 + Math.Abs(gates[i])) * Math.Abs(expected)) + 1e-30, $"{format}, row {i % Rows} of {i / Rows}");
        }
    }

    /// <summary>By the kernels on the tensor cores, of which each warp has several turns, and, of columns that these do not take, by the others.</summary>
    [Test]
    public void A_rows_result_is_the_same_bits_whatever_the_batch([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format, [Values] LinearInput mode, [Values(2308, 301)] int columns)
    {
        const int Rows = 11;
        using var harness = new KernelHarness();
        using var first = new RandomMatrix(format.Stored, Rows, columns, seed: 5, 128);
        using var second = new RandomMatrix(format.Stored, Rows, columns, seed: 6, 128);
        DeviceWeight weight = harness.Put(first.Matrix, format.Device);
        DeviceWeight up = harness.Put(second.Matrix, format.Device);
        float[] input = KernelHarness.Random(9 * columns, seed: 6);
        float[] aside = KernelHarness.Random(9 * columns, seed: 7);
        LinearOutput[] outputs = KernelSet.SuitsGate(weight, up) ? [LinearOutput.Stored, LinearOutput.Gated] : [LinearOutput.Stored];
        foreach (LinearOutput wanted in outputs)
        {
            float[] Run(int batch)
            {
                ulong output = harness.New<float>(batch * Rows);
                harness.Kernels.Linear(harness.Stream, weight.Format, new LinearArguments
                {
                    First = weight.Matrix,
                    Second = wanted == LinearOutput.Gated ? up.Matrix : default,
                    FirstOutput = output,
                    Input = harness.Put<float>(input.AsSpan(0, batch * columns)),
                    Aside = harness.Put<float>(aside.AsSpan(0, (mode == LinearInput.Gated ? batch : 1) * columns)),
                    Batch = (uint)batch,
                    Mode = mode,
                    Output = wanted,
                    Epsilon = 1e-6f,
                });
                return harness.Get<float>(output, batch * Rows);
            }

            float[] whole = Run(9);
            foreach (int batch in new[] { 1, 2, 4, 7, 8 })
            {
                Assert.That(Run(batch), Is.EqualTo(whole[..(batch * Rows)]), $"{wanted}, {batch} rows");
            }
        }
    }

    internal static void Check(KernelHarness harness, (WeightFormat Stored, DeviceFormat Device) format, int rows, int secondRows, int columns, int batch, LinearInput mode, bool accumulate, bool mapped, int block = 32, bool tensor = false)
    {
        using var first = new RandomMatrix(format.Stored, rows, columns, seed: rows + columns, block);
        using var second = new RandomMatrix(format.Stored, Math.Max(1, secondRows), columns, seed: rows, block);
        DeviceWeight[] weights = secondRows == 0 ? [harness.Put(first.Matrix, format.Device)] : [harness.Put(first.Matrix, format.Device), harness.Put(second.Matrix, format.Device)];
        float[] input = KernelHarness.Random(batch * columns, seed: batch);
        float[] aside = KernelHarness.Random(mode == LinearInput.Gated ? batch * columns : columns, seed: batch + 1);
        uint[] map = [.. Enumerable.Range(0, batch).Select(r => mapped ? (uint)(batch - 1 - r) : (uint)r)];
        float[][] before = [.. weights.Select((w, i) => KernelHarness.Random(batch * w.Source.Rows, seed: 50 + i))];
        ulong[] outputs = [.. weights.Select((w, i) => accumulate ? harness.Put<float>(before[i]) : harness.New<float>(batch * w.Source.Rows))];
        var arguments = new LinearArguments
        {
            First = weights[0].Matrix,
            Second = secondRows == 0 ? default : weights[1].Matrix,
            FirstOutput = outputs[0],
            SecondOutput = secondRows == 0 ? 0 : outputs[1],
            Input = harness.Put<float>(input),
            Aside = mode == LinearInput.Plain ? 0 : harness.Put<float>(aside),
            RowMap = mapped ? harness.Put<uint>(map) : 0,
            Batch = (uint)batch,
            Mode = mode,
            Output = accumulate ? LinearOutput.Added : LinearOutput.Stored,
            Epsilon = 1e-5f,
        };
        if (tensor)
        {
            GemmTests.Multiply(harness, format.Device, arguments);
        }
        else
        {
            harness.Kernels.Linear(harness.Stream, format.Device, arguments);
        }

        for (int i = 0; i < weights.Length; i++)
        {
            double[][] values = KernelHarness.Decode(weights[i]);
            float[] actual = harness.Get<float>(outputs[i], batch * values.Length);
            for (int b = 0; b < batch; b++)
            {
                double[] x = Prepare(input.AsSpan((int)map[b] * columns, columns), aside.AsSpan(mode == LinearInput.Gated ? (int)map[b] * columns : 0, columns), mode);
                for (int r = 0; r < values.Length; r++)
                {
                    double sum = 0;
                    double magnitude = 1e-6;
                    for (int c = 0; c < columns; c++)
                    {
                        sum += values[r][c] * x[c];
                        magnitude += Math.Abs(values[r][c] * x[c]);
                    }

                    double expected = sum + (accumulate ? before[i][(b * values.Length) + r] : 0);
                    KernelHarness.AssertClose(expected, actual[(b * values.Length) + r], (tensor || KernelSet.SuitsLinear(format.Device, weights[0].Matrix) ? TensorTolerance : Tolerance) * (magnitude + Math.Abs(expected)), $"{format}, {mode}, {rows} x {columns}, batch {batch}, weight {i}, row {r} of {b}");
                }
            }
        }
    }

    /// <summary>A row of the input as kernels make it ready; an epsilon of 1e-5.</summary>
    internal static double[] Prepare(ReadOnlySpan<float> x, ReadOnlySpan<float> aside, LinearInput mode)
    {
        var result = new double[x.Length];
        double squares = 0;
        foreach (float value in x)
        {
            squares += (double)value * value;
        }

        double norm = 1 / Math.Sqrt((squares / x.Length) + 1e-5f);
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = mode switch
            {
                LinearInput.Normalized => x[i] * norm * aside[i],
                LinearInput.Gated => x[i] / (1 + Math.Exp(-x[i])) * aside[i],
                _ => x[i],
            };
        }

        return result;
    }
}
