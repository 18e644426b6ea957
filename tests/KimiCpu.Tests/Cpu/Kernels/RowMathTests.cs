// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.Kernels;

[TestFixtureSource(typeof(CpuFeatures), nameof(CpuFeatures.Supported))]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class RowMathTests(InstructionSet set)
{
    private const float Factor = 0.37f;

    /// <summary>All rests of all widths.</summary>
    private static readonly int[] s_sizes = [.. Enumerable.Range(0, 40), 64, 127, 2048];

    [Test]
    public void Sums_are_exact() => Check<RowSum>((x, y) => x + y);

    [Test]
    public void Multiples_are_exact() => Check<RowScale>((x, _) => x * Factor);

    [Test]
    public void Multiples_are_rounded_before_they_are_added() => Check<RowScaleAdd>((x, y) => (float)(x * Factor) + y);

    [Test]
    public void Products_are_exact() => Check<RowScaleMultiply>((x, y) => (float)(x * Factor) * y);

    /// <summary>Rows that fill whole vectors and others, to rows of the sums in any order, one of them twice.</summary>
    [Test]
    public unsafe void Rows_are_added_where_they_belong([ValueSource(nameof(s_sizes))] int rows)
    {
        const int Stride = 5, Count = 4;
        int[] tokenOf = [2, 0, 2, 1];
        float[] weightOf = [0.3f, -1.7f, 1e-3f, 0], y = Values(Count * (rows + Stride), 1, 4), sum = Values(3 * (rows + 2), 2, 4), expected = [.. sum];
        for (int i = 0; i < Count; i++)
        {
            for (int r = 0; r < rows; r++)
            {
                expected[(tokenOf[i] * (rows + 2)) + r] += (float)(y[(i * (rows + Stride)) + r] * weightOf[i]);
            }
        }

        fixed (float* source = y, weights = weightOf, target = sum)
        {
            fixed (int* tokens = tokenOf)
            {
                RowMath.AddScaledRows(set, source, rows + Stride, rows, tokens, weights, Count, target, rows + 2);
            }
        }

        Assert.That(sum, Is.EqualTo(expected));
    }

    /// <summary>Also where e^-x overflows; infinities of the wrong sign become NaNs, as in the definition.</summary>
    [Test]
    public void Gated_values_are_those_of_the_definition()
    {
        float[] x = [.. Values(500, 1, 20), 88, -88, 89, -89, 100, -100, 1e30f, -1e30f, 0, -0f, float.PositiveInfinity, float.NegativeInfinity, float.NaN, 1e-40f];
        float[] y = Values(x.Length, 2, 3);
        var actual = new float[x.Length];
        RowMath.Apply<RowSwiGlu>(set, x, y, 1, actual);
        for (int i = 0; i < x.Length; i++)
        {
            double expected = x[i] / (1 + Math.Exp(-(double)x[i])) * y[i];
            double tolerance = double.IsFinite(expected) ? 5e-7 * Math.Max(Math.Abs(expected), 1e-30) : 0;
            Assert.That(actual[i], Is.EqualTo((float)expected).Within(tolerance), $"{x[i]} {y[i]}");
        }
    }

    [Test]
    public void A_value_does_not_depend_on_its_place()
    {
        float[] x = Values(100, 1, 5), y = Values(100, 2, 5), whole = new float[100], part = new float[1];
        RowMath.Apply<RowSwiGlu>(set, x, y, 1, whole);
        for (int i = 0; i < x.Length; i++)
        {
            RowMath.Apply<RowSwiGlu>(set, x.AsSpan(i, 1), y.AsSpan(i, 1), 1, part);
            Assert.That(part[0], Is.EqualTo(whole[i]), $"{i}");
        }

        RowMath.Exponentials(set, x, 5, 0.7f, whole);
        for (int i = 0; i < x.Length; i++)
        {
            RowMath.Exponentials(set, x.AsSpan(i, 1), 5, 0.7f, part);
            Assert.That(part[0], Is.EqualTo(whole[i]), $"{i}");
        }
    }

    [Test]
    public void Exponentials_are_of_quotients([ValueSource(nameof(s_sizes))] int size)
    {
        float[] x = Values(size, size, 40), actual = new float[size];
        RowMath.Exponentials(set, x, 41, 0.7f, actual);
        for (int i = 0; i < size; i++)
        {
            double expected = Math.Exp((x[i] - 41) / 0.7f);
            Assert.That(actual[i], Is.EqualTo(expected).Within((3e-7 * expected) + float.Epsilon), $"{i}");
        }
    }

    [Test]
    public void What_is_forbidden_has_no_share_and_the_best_is_one()
    {
        float[] x = [.. Enumerable.Repeat(float.NegativeInfinity, 20), 5, .. Enumerable.Repeat(float.NegativeInfinity, 20)];
        RowMath.Exponentials(set, x, 5, 1e-30f, x);
        Assert.That(x.Sum(), Is.EqualTo(1));
        Assert.That(x[20], Is.EqualTo(1));
    }

    [Test]
    public void The_largest_is_found_in_each_place([Values(1, 15, 16, 17, 40)] int size)
    {
        for (int i = 0; i < size; i++)
        {
            float[] x = Values(size, i, 3);
            x[i] = 4;
            Assert.That(RowMath.Max(set, x), Is.EqualTo(4), $"{i}");
        }

        Assert.That(RowMath.Max(set, [float.NaN, 1, float.NaN, .. Enumerable.Repeat(0f, size), 2, float.NaN]), Is.EqualTo(2));
        Assert.That(RowMath.Max(set, []), Is.EqualTo(float.NegativeInfinity));
        Assert.That(RowMath.Max(set, [.. Enumerable.Repeat(float.NegativeInfinity, size)]), Is.EqualTo(float.NegativeInfinity));
    }

    [Test]
    public void Squares_are_summed([ValueSource(nameof(s_sizes))] int size)
    {
        float[] x = Values(size, size, 3);
        double expected = x.Sum(v => (double)v * v);
        Assert.That(RowMath.SumOfSquares(set, x), Is.EqualTo(expected).Within(1e-6 * expected));
    }

    [Test]
    public void Each_place_of_a_row_is_seen_not_to_be_finite([Values(float.NaN, float.PositiveInfinity, float.NegativeInfinity)] float value, [Values(1, 15, 16, 37)] int size)
    {
        float[] x = Values(size, size, float.MaxValue);
        Assert.That(RowMath.IsFinite(set, x), Is.True);
        for (int i = 0; i < size; i++)
        {
            float before = x[i];
            x[i] = value;
            Assert.That(RowMath.IsFinite(set, x), Is.False, $"{i}");
            x[i] = before;
        }
    }

    [Test]
    public void Rows_of_different_lengths_are_refused()
    {
        Assert.That(() => RowMath.Add(new float[3], new float[4]), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => RowMath.Scale(new float[3], 1, new float[4]), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    private void Check<TOperation>(Func<float, float, float> definition)
        where TOperation : IRowOperation
    {
        foreach (int size in s_sizes)
        {
            float[] x = Values(size, size, 3), y = Values(size, size + 1, 3);
            float[] expected = [.. x.Zip(y, definition)];

            // What follows the row stays as it is; the target may be a source.
            float[] target = [.. y, 42];
            RowMath.Apply<TOperation>(set, x, target.AsSpan(0, size), Factor, target.AsSpan(0, size));
            Assert.That(target, Is.EqualTo((float[])[.. expected, 42]), $"{size}");
        }
    }

    private static float[] Values(int count, int seed, float range)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => ((2 * random.NextSingle()) - 1) * range)];
    }
}
