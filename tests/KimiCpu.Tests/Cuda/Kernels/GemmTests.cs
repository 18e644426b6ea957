// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Tests.Cpu;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Linear layers on the tensor cores: of every format over ragged shapes, against double precision.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class GemmTests
{
    private static readonly (WeightFormat Stored, DeviceFormat Device)[] s_formats =
    [
        (WeightFormat.BFloat16, DeviceFormat.BFloat16), (WeightFormat.Float8Block, DeviceFormat.Float8), (WeightFormat.BFloat16, DeviceFormat.Int8),
    ];

    [Test]
    public void Products_agree_with_double_precision([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format, [Values] LinearInput mode)
    {
        using var harness = new KernelHarness();
        foreach ((int rows, int columns, int batch, int block) in new[] { (1, 16, 1, 32), (9, 33, 63, 32), (127, 32, 64, 128), (129, 270, 65, 64), (40, 1102, 3, 128), (128, 160, 130, 32) })
        {
            LinearTests.Check(harness, format, rows, secondRows: 0, columns, batch, mode, accumulate: rows == 9, mapped: false, block, tensor: true);
        }
    }

    [Test]
    public void Two_weights_share_an_input([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format, [Values] bool accumulate)
    {
        using var harness = new KernelHarness();
        LinearTests.Check(harness, format, rows: 130, secondRows: 22, columns: 96, batch: 66, LinearInput.Normalized, accumulate, mapped: false, block: 32, tensor: true);
    }

    [Test]
    public void A_rows_result_is_the_same_bits_whatever_the_batch()
    {
        const int Columns = 200;
        const int Rows = 131;
        using var harness = new KernelHarness();
        using var matrix = new RandomMatrix(WeightFormat.BFloat16, Rows, Columns, seed: 5);
        DeviceWeight weight = harness.Put(matrix.Matrix, DeviceFormat.Int8);
        float[] input = KernelHarness.Random(140 * Columns, seed: 6);
        float[] Run(int batch)
        {
            ulong output = harness.New<float>(batch * Rows);
            Multiply(harness, weight.Format, new LinearArguments
            {
                First = weight.Matrix,
                FirstOutput = output,
                Input = harness.Put<float>(input.AsSpan(0, batch * Columns)),
                Aside = harness.Put<float>(KernelHarness.Random(Columns, seed: 7)),
                Batch = (uint)batch,
                Mode = LinearInput.Normalized,
                Epsilon = 1e-6f,
            });
            return harness.Get<float>(output, batch * Rows);
        }

        float[] whole = Run(140);
        foreach (int batch in new[] { 1, 17, 64, 65 })
        {
            Assert.That(Run(batch), Is.EqualTo(whole[..(batch * Rows)]));
        }
    }

    /// <summary>Every code of 8 bits is exact: each row of the batch picks one column, and gets its value times its factor.</summary>
    [TestCase(WeightFormat.Float8Block, DeviceFormat.Float8)]
    [TestCase(WeightFormat.BFloat16, DeviceFormat.Int8)]
    public void Every_value_of_8_bits_is_exact(WeightFormat stored, DeviceFormat device)
    {
        const int Columns = 256;
        using var harness = new KernelHarness();
        using var matrix = new RandomMatrix(stored, 1, Columns, seed: 1);
        for (int c = 0; c < Columns; c++)
        {
            if (stored == WeightFormat.Float8Block)
            {
                matrix.Data[c] = (byte)((c & 0x7F) == 0x7F ? 0 : c);
            }
            else
            {
                // The factor becomes one: the largest of either half is 127.
                ushort value = BFloat16.FromSingle(c < 128 ? c : c - 255);
                (matrix.Data[2 * c], matrix.Data[(2 * c) + 1]) = ((byte)value, (byte)(value >> 8));
            }
        }

        DeviceWeight weight = harness.Put(matrix.Matrix, device);
        var input = new float[Columns * Columns];
        for (int c = 0; c < Columns; c++)
        {
            input[(c * Columns) + c] = 1;
        }

        ulong output = harness.New<float>(Columns);
        Multiply(harness, device, new LinearArguments { First = weight.Matrix, FirstOutput = output, Input = harness.Put<float>(input), Batch = Columns });
        float[] expected = [.. KernelHarness.Decode(weight)[0].Select(v => (float)v)];
        Assert.That(harness.Get<float>(output, Columns), Is.EqualTo(expected));
        Assert.That(expected.Distinct().Count(), Is.GreaterThan(240));
    }

    [Test]
    public void Heads_have_rows_and_columns_of_their_own([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device) format, [Values(5, 130)] int value)
    {
        const int Heads = 3;
        const int Nope = 9;
        const int Latent = 160;
        const int Batch = 67;
        using var harness = new KernelHarness();
        using var matrix = new RandomMatrix(format.Stored, Heads * (Nope + value), Latent, seed: value, block: 32);
        DeviceWeight weight = harness.Put(matrix.Matrix, format.Device);
        double[][] w = KernelHarness.Decode(weight);
        float[] input = KernelHarness.Random(Batch * Heads * Latent, seed: 1);
        ulong parts = Split(harness, format.Device, harness.Put<float>(input), 0, Batch, Heads * Latent, LinearInput.Plain, 0);
        ulong output = harness.New<float>(Batch * Heads * value);
        harness.Kernels.Gemm(harness.Stream, format.Device, new GemmArguments
        {
            First = weight.Matrix,
            FirstOutput = output,
            Input = parts,
            Batch = Batch,
            Stride = Heads * Latent,
            Heads = Heads,
            HeadRows = (uint)value,
            HeadBegin = Nope,
            HeadStep = (uint)(Nope + value),
        });
        float[] actual = harness.Get<float>(output, Batch * Heads * value);
        for (int i = 0; i < actual.Length; i++)
        {
            int head = i / value % Heads;
            double[] row = w[(head * (Nope + value)) + Nope + (i % value)];
            int at = i / value * Latent;
            double expected = Enumerable.Range(0, Latent).Sum(c => row[c] * input[at + c]);
            KernelHarness.AssertClose(expected, actual[i], LinearTests.TensorTolerance * Enumerable.Range(0, Latent).Sum(c => Math.Abs(row[c] * input[at + c])), $"{format}, value {i}");
        }
    }

    [TestCase(1, DeviceFormat.BFloat16)]
    [TestCase(37, DeviceFormat.BFloat16)]
    [TestCase(37, DeviceFormat.Int8)]
    [TestCase(700, DeviceFormat.Float8)]
    public void Inputs_are_split_into_two_parts_in_the_order_of_the_format(int columns, DeviceFormat format)
    {
        using var harness = new KernelHarness();
        float[] input = KernelHarness.Random(2 * columns, seed: columns);
        input[columns] = 0;
        int stride = KernelSet.PartStride(columns);
        ushort[] parts = harness.Get<ushort>(Split(harness, format, harness.Put<float>(input), 0, 2, columns, LinearInput.Plain, 0), 2 * 2 * stride);
        for (int row = 0; row < 2; row++)
        {
            for (int place = 0; place < stride; place++)
            {
                int column = Column(place, format);
                float high = BFloat16.ToSingle(parts[(row * 2 * stride) + place]);
                float low = BFloat16.ToSingle(parts[(((row * 2) + 1) * stride) + place]);
                float expected = column < columns ? input[(row * columns) + column] : 0;
                Assert.That(high, Is.EqualTo(BFloat16.ToSingle(BFloat16.FromSingle(expected))));
                Assert.That(low, Is.EqualTo(BFloat16.ToSingle(BFloat16.FromSingle(expected - high))));
            }
        }
    }

    /// <summary>What a layer on the tensor cores puts into the stream.</summary>
    internal static void Multiply(KernelHarness harness, DeviceFormat format, in LinearArguments arguments)
    {
        int columns = (int)arguments.First.Columns;
        harness.Kernels.Gemm(harness.Stream, format, new GemmArguments
        {
            First = arguments.First,
            Second = arguments.Second,
            FirstOutput = arguments.FirstOutput,
            SecondOutput = arguments.SecondOutput,
            Input = Split(harness, format, arguments.Input, arguments.Aside, (int)arguments.Batch, columns, arguments.Mode, arguments.Epsilon),
            Batch = arguments.Batch,
            Stride = (uint)KernelSet.PartStride(columns),
            Accumulate = arguments.Output == LinearOutput.Added ? 1u : 0,
            Heads = 1,
            HeadRows = arguments.First.Rows,
        });
    }

    internal static ulong Split(KernelHarness harness, DeviceFormat format, ulong input, ulong aside, int batch, int columns, LinearInput mode, float epsilon)
    {
        int stride = KernelSet.PartStride(columns);
        ulong parts = harness.New<ushort>(batch * 2 * stride);
        harness.Kernels.Split(harness.Stream, batch, new SplitArguments
        {
            Input = input,
            Aside = aside,
            Parts = parts,
            Columns = (uint)columns,
            Stride = (uint)stride,
            Mode = mode,
            ForBytes = KernelSet.ForBytes(format),
            Epsilon = epsilon,
        });
        return parts;
    }

    /// <summary>Which column stands at a place.</summary>
    internal static int Column(int place, DeviceFormat format) => format == DeviceFormat.BFloat16
        ? place
        : (place & ~15) + new[] { 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15 }[place & 15];
}
