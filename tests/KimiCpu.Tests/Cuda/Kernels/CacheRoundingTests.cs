// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Kernels;

namespace KimiCpu.Tests.Cuda.Kernels;

/// <summary>Which bytes and factors a latent becomes in a cache of 8 bits.</summary>
[TestFixture]
[Category(GpuUnderTest.Category)]
[Parallelizable(ParallelScope.All)]
internal sealed class CacheRoundingTests
{
    [Test]
    public void Values_are_rounded_to_the_nearest_and_ties_to_even()
    {
        float[] latent = new float[128];
        float[] values = [127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.51f, -0.49f, 126.5f, -126.5f, 100];
        values.CopyTo(latent, 0);
        (Half factor, sbyte[] bytes) = Store(latent)[0];
        Assert.That(factor, Is.EqualTo((Half)1));
        Assert.That(bytes[..values.Length], Is.EqualTo(new sbyte[] { 127, 0, 2, 2, 0, -2, -2, 1, 0, 126, -126, 100 }));
        Assert.That(bytes[values.Length..], Is.All.Zero);
    }

    /// <summary>No value exceeds 127 factors, wherever binary16 has one that large.</summary>
    [Test]
    public void A_factor_is_the_least_that_reaches_the_largest_value([Values(1f, -0.3f, 254.1f, 0.0078f, 1e-4f, 1e-6f, 8.3e6f, -3e-38f)] float largest)
    {
        float[] latent = [.. Enumerable.Range(0, 128).Select(i => largest * (i - 100) / 100)];
        (Half factor, sbyte[] bytes) = Store(latent)[0];
        Assert.That((double)factor * 127, Is.GreaterThanOrEqualTo(Math.Abs((double)largest)));
        Assert.That((double)Half.BitDecrement(factor) * 127, Is.LessThan(Math.Abs((double)largest)));
        for (int i = 0; i < latent.Length; i++)
        {
            KernelHarness.AssertClose(latent[i], bytes[i] * (double)factor, ((double)factor * 0.5) + (Math.Abs(latent[i]) * 1e-6), $"value {i}");
        }
    }

    [Test]
    public void Zeros_stay_zeros_and_what_is_too_large_becomes_the_largest()
    {
        float[] latent = new float[3 * 128];
        latent[128 + 5] = 1e30f;
        latent[128 + 6] = -1e9f;
        latent[128 + 7] = 1;
        latent[(2 * 128) + 9] = -1;
        (Half Factor, sbyte[] Bytes)[] groups = Store(latent);
        Assert.That(groups[0], Is.EqualTo(((Half)0, new sbyte[128])));
        Assert.That((groups[1].Factor, groups[1].Bytes[5], groups[1].Bytes[6], groups[1].Bytes[7]), Is.EqualTo((Half.MaxValue, (sbyte)127, (sbyte)-127, (sbyte)0)));
        Assert.That(groups[2].Bytes.Index().Where(b => b.Item != 0), Is.EqualTo(new[] { (9, (sbyte)-127) }));
    }

    [Test]
    public void What_is_not_finite_makes_its_128_columns_NaN_and_no_others([Values(float.NaN, float.PositiveInfinity, float.NegativeInfinity)] float value)
    {
        float[] latent = new float[260];
        latent[130] = value;
        latent[259] = 1;
        (Half Factor, sbyte[] Bytes)[] groups = Store(latent);
        Assert.That(groups.Select(g => Half.IsNaN(g.Factor)), Is.EqualTo(new[] { false, true, false }));
        Assert.That(groups[2].Bytes, Is.EqualTo(new sbyte[] { 0, 0, 0, 127 }));
    }

    /// <summary>A token all of whose values are of magnitude 1 before the gain, which then is the latent.</summary>
    private static (Half Factor, sbyte[] Bytes)[] Store(float[] latent)
    {
        const int Rope = 2;
        using var harness = new KernelHarness();
        var cache = new PagedCache(harness, CacheFormat.Int8, [67], latent.Length, Rope);
        harness.Kernels.RopeStore(harness.Stream, CacheFormat.Int8, 1, new RopeArguments
        {
            Cache = cache.Arguments,
            Query = harness.New<float>(4),
            Latent = harness.Put<float>([.. Enumerable.Repeat(1f, latent.Length + Rope)]),
            Gain = harness.Put<float>(latent),
            Rotations = harness.Put<float>([1, 0]) + (2 * sizeof(float)),
            Heads = 1,
            Nope = 2,
            Epsilon = 0,
        });
        cache.Fetch();
        return [.. cache.Bytes(0, 66).Chunk(128).Zip(cache.Factors(0, 66).ToArray(), (bytes, factor) => (factor, bytes))];
    }
}
