// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Tests.Cpu;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>
/// The kernels for few rows with every number of warps that a weight's sizes choose, against double precision: sums of all warps are added, and each has its
/// shared memory. Of rows and columns that end inside a block and a step, and of warps that have one turn fewer than others.
/// </summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class LinearWarpTests
{
    /// <summary>And the kernels of each.</summary>
    private static readonly (WeightFormat Stored, DeviceFormat Device, string Kernels)[] s_formats =
    [
        (WeightFormat.BFloat16, DeviceFormat.BFloat16, "linear_bf16"), (WeightFormat.Float8Block, DeviceFormat.Float8, "linear_fp8"), (WeightFormat.BFloat16, DeviceFormat.Int8, "linear_int8"),
    ];

    /// <summary>Warps, and rows of either weight and columns for which these are chosen.</summary>
    private static readonly (int Warps, int Rows, int Columns)[] s_sizes = [(4, 37, 1540), (12, 37, 3204), (6, 2117, 2052), (8, 4229, 2052)];

    [Test]
    public void All_warps_of_a_block_add_their_sums([ValueSource(nameof(s_formats))] (WeightFormat Stored, DeviceFormat Device, string Kernels) format, [ValueSource(nameof(s_sizes))] (int Warps, int Rows, int Columns) size)
    {
        using var harness = new KernelHarness();
        using var first = new RandomMatrix(format.Stored, size.Rows, size.Columns, seed: 1);
        using var second = new RandomMatrix(format.Stored, size.Rows, size.Columns, seed: 2);
        DeviceWeight[] weights = [harness.Put(first.Matrix, format.Device), harness.Put(second.Matrix, format.Device)];
        double[][][] values = [.. weights.Select(KernelHarness.Decode)];
        List<(string Kernel, int Threads)> launches = [];
        if (harness.Simulated is { } simulated)
        {
            simulated.Launched = (kernel, threads, _) => launches.Add((kernel, threads));
        }

        foreach (int batch in new[] { 1, 3 })
        {
            CheckTwo(harness, weights, values, batch);
            CheckGated(harness, weights, values, batch);
        }

        (string, int) one = ($"{format.Kernels}_1", 32 * size.Warps);
        (string, int) several = ($"{format.Kernels}_8", 32 * size.Warps);
        Assert.That(launches, harness.Simulated is null ? Is.Empty : Is.EqualTo(new[] { one, one, several, several }));
    }

    /// <summary>A GPU of 70 multiprocessors has 133 blocks at once where two of them share one.</summary>
    [Test]
    public void Small_GPUs_have_warps_of_BF16_for_which_no_block_is_left_over()
    {
        using var driver = new SimulatedDriver { Multiprocessors = 70 };
        List<(string Kernel, int Threads)> launches = [];
        foreach ((WeightFormat stored, DeviceFormat device, string kernels) in s_formats)
        {
            using var harness = new KernelHarness();
            using var first = new RandomMatrix(stored, 1060, 2308, seed: 1);
            using var second = new RandomMatrix(stored, 1060, 2308, seed: 2);
            DeviceWeight[] weights = [harness.Put(first.Matrix, device), harness.Put(second.Matrix, device)];
            driver.Launched = (kernel, threads, _) => launches.Add((kernel, threads));
            CheckTwo(harness, weights, [.. weights.Select(KernelHarness.Decode)], 1);
            CheckTwo(harness, weights, [.. weights.Select(KernelHarness.Decode)], 3);
        }

        (string, int)[] expected =
        [
            ("linear_bf16_1", 32 * 8), ("linear_bf16_8", 32 * 8), ("linear_fp8_1", 32 * 12), ("linear_fp8_8", 32 * 12), ("linear_int8_1", 32 * 12), ("linear_int8_8", 32 * 12),
        ];
        Assert.That(launches, GpuUnderTest.IsReal ? Is.Empty : Is.EqualTo(expected));
    }

    /// <summary>Of Kimi K2: q_a with kv_a, gate with up of a shared expert, the router, and o_proj. What was measured on an H200 stays.</summary>
    [TestCase(132, 12, 12, 12, 6, Description = "H200")]
    [TestCase(170, 12, 12, 12, 6, Description = "GeForce RTX 5090")]
    [TestCase(128, 8, 12, 12, 6, Description = "GeForce RTX 4090: of gate and up two full rounds")]
    [TestCase(82, 8, 12, 12, 6, Description = "GeForce RTX 3090")]
    [TestCase(58, 12, 12, 12, 6, Description = "L4: some would be left over either way")]
    public void Warps_of_BF16_follow_from_the_weight_and_the_GPU(int multiprocessors, int low, int gateUp, int router, int output)
    {
        int[] warps = [.. new[] { (2112, 7168), (4096, 7168), (384, 7168), (7168, 8192) }.Select(w => KernelSet.LinearWarps(DeviceFormat.BFloat16, w.Item1, w.Item2, multiprocessors))];
        Assert.That(warps, Is.EqualTo(new[] { low, gateUp, router, output }));
        Assert.That(KernelSet.LinearWarps(DeviceFormat.Int8, 2112, 7168, multiprocessors), Is.EqualTo(12), "two blocks of 12 warps fit");
    }

    /// <summary>Looking ahead, which changes no bit, multiplies the next layer's router beside a layer's own, of however many experts.</summary>
    [Test]
    public void A_router_has_the_same_warps_alone_and_with_the_next_ones() => Assert.Multiple(() =>
    {
        for (int multiprocessors = 1; multiprocessors <= 200; multiprocessors++)
        {
            int[] differ = [.. Enumerable.Range(1, KernelSet.MaxExperts).Where(e => Warps(e) != Warps(2 * e))];
            Assert.That(differ, Is.Empty, $"experts, on {multiprocessors} multiprocessors");
            int Warps(int outputs) => KernelSet.LinearWarps(DeviceFormat.BFloat16, outputs, 7168, multiprocessors);
        }
    });

    /// <summary>Of a normalized input. The second weight lacks some of its rows.</summary>
    private static void CheckTwo(KernelHarness harness, DeviceWeight[] weights, double[][][] values, int batch)
    {
        DeviceMatrix second = weights[1].Matrix;
        second.Rows -= 5;
        int[] rows = [(int)weights[0].Matrix.Rows, (int)second.Rows];
        (double[][] prepared, LinearArguments arguments) = Input(harness, weights[0], batch, LinearInput.Normalized);
        arguments.Second = second;
        arguments.FirstOutput = harness.New<float>(batch * rows[0]);
        arguments.SecondOutput = harness.New<float>(batch * rows[1]);
        harness.Kernels.Linear(harness.Stream, weights[0].Format, arguments);
        for (int w = 0; w < 2; w++)
        {
            float[] actual = harness.Get<float>(w == 0 ? arguments.FirstOutput : arguments.SecondOutput, batch * rows[w]);
            for (int i = 0; i < actual.Length; i++)
            {
                (double sum, double error) = Product(values[w][i % rows[w]], prepared[i / rows[w]]);
                KernelHarness.AssertClose(sum, actual[i], error, $"weight {w}, row {i % rows[w]} of {i / rows[w]}");
            }
        }
    }

    /// <summary>silu(first) * second of a plain input.</summary>
    private static void CheckGated(KernelHarness harness, DeviceWeight[] weights, double[][][] values, int batch)
    {
        int rows = (int)weights[0].Matrix.Rows;
        (double[][] prepared, LinearArguments arguments) = Input(harness, weights[0], batch, LinearInput.Plain);
        arguments.Second = weights[1].Matrix;
        arguments.FirstOutput = harness.New<float>(batch * rows);
        arguments.Output = LinearOutput.Gated;
        harness.Kernels.Linear(harness.Stream, weights[0].Format, arguments);
        float[] actual = harness.Get<float>(arguments.FirstOutput, batch * rows);
        for (int i = 0; i < actual.Length; i++)
        {
            (double gate, double gateError) = Product(values[0][i % rows], prepared[i / rows]);
            (double up, double upError) = Product(values[1][i % rows], prepared[i / rows]);
            double silu = gate / (1 + Math.Exp(-gate));

            // Nowhere is silu steeper than 1.1; its exponent is rounded before the exponential.
            double error = (1.1 * gateError * (Math.Abs(up) + upError)) + (Math.Abs(silu) * upError) + (1e-6 * (1 + Math.Abs(gate)) * Math.Abs(silu * up));
            KernelHarness.AssertClose(silu * up, actual[i], error, $"row {i % rows} of {i / rows}");
        }
    }

    private static (double[][] Prepared, LinearArguments Arguments) Input(KernelHarness harness, DeviceWeight weight, int batch, LinearInput mode)
    {
        int columns = (int)weight.Matrix.Columns;
        float[] input = KernelHarness.Random(batch * columns, seed: batch);
        float[] gain = KernelHarness.Random(columns, seed: 9);
        var arguments = new LinearArguments
        {
            First = weight.Matrix,
            Input = harness.Put<float>(input),
            Aside = mode == LinearInput.Plain ? 0 : harness.Put<float>(gain),
            Batch = (uint)batch,
            Mode = mode,
            Epsilon = 1e-5f,
        };
        return ([.. Enumerable.Range(0, batch).Select(b => LinearTests.Prepare(input.AsSpan(b * columns, columns), gain, mode))], arguments);
    }

    private static (double Sum, double Error) Product(double[] weight, double[] x)
    {
        (double sum, double magnitude) = (0, 1e-6);
        for (int c = 0; c < x.Length; c++)
        {
            sum += weight[c] * x[c];
            magnitude += Math.Abs(weight[c] * x[c]);
        }

        return (sum, LinearTests.TensorTolerance * (magnitude + Math.Abs(sum)));
    }
}
