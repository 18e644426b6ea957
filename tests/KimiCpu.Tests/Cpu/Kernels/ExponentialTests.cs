// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.Kernels;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class ExponentialTests
{
    [SetUp]
    public void RequireAvx512()
    {
        if (!Avx512F.IsSupported)
        {
            Assert.Ignore("Needs AVX-512.");
        }
    }

    /// <summary>Subnormal results may be off by a unit of theirs.</summary>
    [Test]
    public void All_magnitudes_are_within_two_units()
    {
        for (int i = 0; i < 1 << 20; i += Vector512<float>.Count)
        {
            var x = new float[Vector512<float>.Count];
            for (int lane = 0; lane < x.Length; lane++)
            {
                // From -2^-30 to -128: every binary magnitude as often.
                x[lane] = -MathF.ScaleB(1 + ((i + lane) * 0x9E3779B1u % (1 << 20) / (float)(1 << 20)), (i / Vector512<float>.Count % 37) - 30);
            }

            Vector512<float> actual = Exponential.OfNegative(Vector512.Create(x));
            for (int lane = 0; lane < x.Length; lane++)
            {
                double expected = Math.Exp(x[lane]);
                double unit = Math.Max(MathF.BitIncrement((float)expected) - (float)expected, float.Epsilon);
                Assert.That(actual[lane], Is.EqualTo(expected).Within(2 * unit), $"e^{x[lane]:R}");
            }
        }
    }

    [TestCase(0f, 1f)]
    [TestCase(-0f, 1f)]
    [TestCase(-150f, 0f)]
    [TestCase(float.MinValue, 0f)]
    [TestCase(float.NegativeInfinity, 0f)]
    [TestCase(float.NaN, float.NaN)]
    public void Ends_of_the_range_are_exact(float x, float expected) =>
        Assert.That(Exponential.OfNegative(Vector512.Create(x))[5], Is.EqualTo(expected));
}
