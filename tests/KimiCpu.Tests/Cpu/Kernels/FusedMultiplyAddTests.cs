// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.Kernels;

/// <summary>Where no instruction multiplies and adds with one rounding, two in double precision give its bits.</summary>
[TestFixture]
[Category("Kernels")]
internal sealed class FusedMultiplyAddTests
{
    private static readonly float[] s_special =
    [
        0, -0f, 1, -1, float.Epsilon, -float.Epsilon, 1.17549435e-38f, 1.1754942e-38f, float.MaxValue, -float.MaxValue, float.PositiveInfinity, float.NegativeInfinity, float.NaN,
        16777215, 16777216, 1.0000001f, 0.99999994f, 1e-30f, -1e30f, 4097, 1 / 3f,
    ];

    [Test]
    public void Every_pair_of_special_values_with_every_third() =>
        Check(from a in s_special from b in s_special from c in s_special select (a, b, c));

    [Test]
    public void Numbers_of_any_bits()
    {
        var random = new Random(1);
        Check(Enumerable.Range(0, 200_000).Select(_ => (Any(random), Any(random), Any(random))));
    }

    /// <summary>Sums that lie so near to the middle between two numbers of single precision that double precision rounds them to it: rounding twice goes wrong.</summary>
    [Test]
    public void Sums_beside_the_middle_of_two_numbers()
    {
        var random = new Random(2);
        (float A, float B, float C)[] values =
        [
            .. Enumerable.Range(0, 200_000).Select(i =>
            {
                // Half of c's last bit, less a part of it that double precision has no room for beside c.
                float c = MathF.ScaleB(1 + ((random.Next() & 0x7FFFFF) * MathF.ScaleB(1, -23)), 20);
                float little = MathF.ScaleB(1 + random.Next(3), -23);
                float a = MathF.ScaleB(1 - little, -4);
                return (i % 3 == 0 ? -a : a, 1 + little, i % 5 == 0 ? -c : c);
            }),
        ];
        Check(values);
        Assert.That(values.Count(v => (float)(((double)v.A * v.B) + v.C) != MathF.FusedMultiplyAdd(v.A, v.B, v.C)), Is.GreaterThan(values.Length / 4));
    }

    private static float Any(Random random) => BitConverter.Int32BitsToSingle((int)random.NextInt64());

    private static void Check(IEnumerable<(float A, float B, float C)> values)
    {
        foreach ((float a, float b, float c) in values)
        {
            float expected = MathF.FusedMultiplyAdd(a, b, c);
            Vector128<float> actual = FusedMultiplyAdd.InDoublePrecision(Vector128.Create(a, 1, a, 1), Vector128.Create(b, 0, b, 2), Vector128.Create(c, 3, c, 4));
            foreach (float element in new[] { actual[0], actual[2] })
            {
                if (BitConverter.SingleToInt32Bits(element) != BitConverter.SingleToInt32Bits(expected) && !(float.IsNaN(element) && float.IsNaN(expected)))
                {
                    Assert.Fail($"{a:R} * {b:R} + {c:R}: {element:R} for {expected:R}");
                }
            }

            Assert.That((actual[1], actual[3]), Is.EqualTo((3f, 6f)));
        }
    }
}
