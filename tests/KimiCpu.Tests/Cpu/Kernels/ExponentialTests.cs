// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.Kernels;

[TestFixtureSource(typeof(CpuFeatures), nameof(CpuFeatures.Supported))]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class ExponentialTests(InstructionSet set)
{
    /// <summary>Subnormal results may be off by a unit of theirs.</summary>
    [Test]
    public void All_magnitudes_are_within_two_units([Values(1, -1)] int sign)
    {
        const int Count = 1 << 16;
        var x = new float[Count];
        for (int i = 0; i < Count; i++)
        {
            // From 2^-30 to 128: every binary magnitude as often.
            x[i] = sign * MathF.ScaleB(1 + (i * 0x9E3779B1u % (1 << 20) / (float)(1 << 20)), (i % 37) - 30);
        }

        float[] actual = Of(x);
        for (int i = 0; i < Count; i++)
        {
            double expected = Math.Exp(x[i]);
            if (expected > float.MaxValue)
            {
                Assert.That(actual[i], Is.EqualTo(float.PositiveInfinity).Or.GreaterThan(0.999999f * float.MaxValue), $"e^{x[i]:R}");
                continue;
            }

            double unit = Math.Max((float)expected - MathF.BitDecrement((float)expected), float.Epsilon);
            Assert.That(actual[i], Is.EqualTo(expected).Within(2 * unit), $"e^{x[i]:R}");
        }
    }

    [TestCase(0f, 1f)]
    [TestCase(-0f, 1f)]
    [TestCase(-150f, 0f)]
    [TestCase(float.MinValue, 0f)]
    [TestCase(float.NegativeInfinity, 0f)]
    [TestCase(float.NaN, float.NaN)]
    [TestCase(Exponential.Largest, float.PositiveInfinity)]
    public void Ends_of_the_range_are_exact(float x, float expected) => Assert.That(Of([.. Enumerable.Repeat(x, 16)])[5], Is.EqualTo(expected));

    private float[] Of(float[] x)
    {
        float[] result = [.. x];
        fixed (float* values = result)
        {
            for (int i = 0; i < x.Length;)
            {
                i += set switch
                {
                    InstructionSet.Avx512 => Of<Lanes512>(values + i),
                    InstructionSet.Avx2 => Of<Lanes256>(values + i),
                    InstructionSet.Vector128 => Of<Lanes128>(values + i),
                    _ => Of<LanesScalar>(values + i),
                };
            }
        }

        return result;
    }

    private static int Of<TLanes>(float* values)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes.Store(Exponential.Of(TLanes.Load(values)), values);
        return TLanes.Count;
    }
}
