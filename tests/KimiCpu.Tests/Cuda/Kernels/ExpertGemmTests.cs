// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Tests.Cpu;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Routed experts of many tokens on the GPU's tensor cores against the CPU's scalar kernels: the same bits but for the exponential.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class ExpertGemmTests
{
    private const float Epsilon = 1e-5f;

    /// <summary>
    /// One group and several, an odd and an even number of tiles of 8 of them and parts of one, half a block of output rows; one token,
    /// those of a block, one less and one more.
    /// </summary>
    [TestCase(32, 32, 1)]
    [TestCase(96, 64, 15)]
    [TestCase(288, 256, 17)]
    [TestCase(544, 1056, 16)]
    public void Experts_agree_with_the_CPUs(int size, int inner, int count)
    {
        using var harness = new KernelHarness();
        Check(harness, size, inner, [count]);
    }

    [Test]
    public void Experts_add_to_each_other_in_the_order_of_their_launches()
    {
        using var harness = new KernelHarness();
        Check(harness, 64, 96, [3, 18, 1]);
    }

    [Test]
    public void A_row_that_is_not_finite_is_not_lost_and_disturbs_no_other([Values(float.NaN, float.NegativeInfinity)] float value)
    {
        using var harness = new KernelHarness();
        float[] output = Run(harness, 64, 32, [4], residual => residual[(2 * 64) + 5] = value);
        Assert.That(output[128..192], Is.All.NaN);
        Assert.That(output[..128].Concat(output[192..]), Has.None.NaN);
    }

    /// <param name="harness">The GPU.</param>
    /// <param name="size">Columns of gate and up.</param>
    /// <param name="inner">Their rows.</param>
    /// <param name="counts">Tokens of each expert.</param>
    internal static void Check(KernelHarness harness, int size, int inner, int[] counts) => Run(harness, size, inner, counts, _ => { });

    private static unsafe float[] Run(KernelHarness harness, int size, int inner, int[] counts, Action<float[]> spoil)
    {
        int batch = counts.Max();
        var layout = new ExpertSlotLayout(RouterAndModuleTests.Shape(1, 1, 1, 1, size, inner));
        float[] residual = KernelHarness.Random(batch * size, seed: 1);
        float[] gain = KernelHarness.Random(size, seed: 2);
        spoil(residual);
        int rowBytes = KernelSet.RoundedBytes(size);
        ulong rounded = harness.New<byte>(batch * rowBytes);
        harness.Kernels.RoundForExpertGemm(harness.Stream, batch, new ExpertGemmRoundArguments { Residual = harness.Put<float>(residual), Gain = harness.Put<float>(gain), Rounded = rounded, Size = (uint)size, Epsilon = Epsilon });
        byte[] rows = harness.Get<byte>(rounded, batch * rowBytes);
        AssertRounded(rows, residual, gain, batch);

        float[] expected = KernelHarness.Random(batch * size, seed: 3);
        ulong output = harness.Put<float>(expected);
        for (int e = 0; e < counts.Length; e++)
        {
            using RandomMatrix gate = ExpertTests.Matrix(inner, size, e);
            using RandomMatrix up = ExpertTests.Matrix(inner, size, 10 + e);
            using RandomMatrix down = ExpertTests.Matrix(size, inner, 20 + e);
            byte[] slot = new byte[layout.Bytes];
            fixed (byte* target = slot)
            {
                layout.Copy(new MlpWeights { Gate = gate.Matrix, Up = up.Matrix, Down = down.Matrix }, target);
            }

            // The last rows of the batch, out of order.
            int count = counts[e];
            uint[] tokens = [.. Enumerable.Range(0, count).Select(i => (uint)(batch - 1 - ((i + 1) % count)))];
            float[] weights = KernelHarness.Random(count, seed: 30 + e);
            ulong tokensOnDevice = harness.Put<uint>(tokens);
            ulong innerRows = harness.New<byte>(count * KernelSet.RoundedBytes(inner));
            ExpertSlotsArguments expert = layout.At(harness.Put<byte>(slot));
            harness.Kernels.ExpertGemmGateUp(harness.Stream, new ExpertGemmGateUpArguments { Expert = expert, Tokens = tokensOnDevice, Rounded = rounded, Inner = innerRows, Count = (uint)count, Size = (uint)size, InnerSize = (uint)inner });
            harness.Kernels.ExpertGemmDown(harness.Stream, new ExpertGemmDownArguments { Expert = expert, Tokens = tokensOnDevice, Weights = harness.Put<float>(weights), Inner = innerRows, Output = output, Count = (uint)count, Size = (uint)size, InnerSize = (uint)inner });
            byte[] found = harness.Get<byte>(innerRows, count * KernelSet.RoundedBytes(inner));
            AssertInner(found, tokens, rows, rowBytes, gate, up);
            for (int i = 0; i < count; i++)
            {
                float[] products = ExpertTests.Multiply(down, found[(i * KernelSet.RoundedBytes(inner))..], inner);
                for (int c = 0; c < size; c++)
                {
                    ref float sum = ref expected[(tokens[i] * size) + c];
                    sum = MathF.FusedMultiplyAdd(weights[i], products[c], sum);
                }
            }
        }

        float[] result = harness.Get<float>(output, expected.Length);
        for (int i = 0; i < result.Length; i++)
        {
            if (!result[i].Equals(expected[i]))
            {
                throw new AssertionException($"output {i} of {size} x {inner}: {result[i]:R}, expected {expected[i]:R}");
            }
        }

        return result;
    }

    /// <summary>The norm's root is approximate, so a value next to a tie may round to its neighbour.</summary>
    private static void AssertRounded(byte[] rows, float[] residual, float[] gain, int batch)
    {
        int size = gain.Length;
        int rowBytes = KernelSet.RoundedBytes(size);
        for (int row = 0; row < batch; row++)
        {
            float[] x = residual[(row * size)..((row + 1) * size)];
            float norm = (float)(1 / Math.Sqrt((x.Sum(v => (double)v * v) / size) + Epsilon));
            byte[] expected = ExpertTests.Round([.. x.Select((v, i) => v * norm * gain[i])]);
            for (int i = 0; i < size && float.IsFinite(norm); i++)
            {
                KernelHarness.AssertClose((sbyte)expected[i], (sbyte)rows[(row * rowBytes) + i], 1, $"value {i} of row {row}");
            }
        }
    }

    /// <summary>Gate and up have the CPU's bits; the exponential may round an inner value to a neighbour.</summary>
    private static void AssertInner(byte[] found, uint[] tokens, byte[] rows, int rowBytes, RandomMatrix gate, RandomMatrix up)
    {
        (int inner, int size) = (gate.Matrix.Rows, gate.Matrix.Columns);
        int different = 0;
        for (int i = 0; i < tokens.Length; i++)
        {
            byte[] x = rows[((int)tokens[i] * rowBytes)..][..rowBytes];
            float[] gates = ExpertTests.Multiply(gate, x, size);
            float[] ups = ExpertTests.Multiply(up, x, size);
            byte[] expected = ExpertTests.Round([.. gates.Zip(ups, (g, u) => g * (float)(1 / (1 + Math.Exp(-(double)g))) * u)]);
            ReadOnlySpan<byte> row = found.AsSpan(i * KernelSet.RoundedBytes(inner), expected.Length);
            for (int v = 0; v < inner; v++)
            {
                int difference = Math.Abs((sbyte)row[v] - (sbyte)expected[v]);
                different += difference;
                KernelHarness.AssertClose(0, difference, 1, $"inner value {v} of token {i}");
            }

            for (int g = 0; g < inner / 32; g++)
            {
                float scale = BitConverter.ToSingle(expected, inner + (4 * g));
                float actual = BitConverter.ToSingle(row[(inner + (4 * g))..]);
                if (!(float.IsNaN(scale) && float.IsNaN(actual)))
                {
                    KernelHarness.AssertClose(scale, actual, 1e-6 * scale, $"factor {g} of token {i}");
                }
            }
        }

        KernelHarness.AssertClose(0, different, 1 + (tokens.Length * inner / 100.0), "inner values that differ");
    }
}
