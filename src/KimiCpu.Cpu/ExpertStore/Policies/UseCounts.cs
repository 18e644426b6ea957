// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// How often each expert was used, where a use of <c>halfLife</c> steps ago counts half. A use costs a constant time
/// whatever the number of experts, since counts are kept as if they had grown with time instead of decaying: what is
/// stored is log2(count) + step / half-life, which time does not change. Logarithms do not overflow.
/// </summary>
internal sealed class UseCounts
{
    /// <summary>Of an expert that has never been used.</summary>
    public const double Never = double.NegativeInfinity;

    private readonly double[] _scaled;
    private readonly double _halfLife;
    private long _step;

    /// <param name="keys">Experts of all layers.</param>
    /// <param name="halfLife">Steps after which a use counts half; infinity for no decay.</param>
    public UseCounts(int keys, double halfLife)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(halfLife);
        _halfLife = halfLife;
        _scaled = new double[keys];
        Array.Fill(_scaled, Never);
    }

    public int Keys => _scaled.Length;

    /// <summary>Steps that were begun.</summary>
    public long Step => _step;

    /// <summary>What a count would be, at most, of an expert that every step uses.</summary>
    public double Most { get; private set; }

    /// <summary>log2 of what a use counts now, as stored.</summary>
    private double Now => _step / _halfLife;

    public void BeginStep()
    {
        _step++;
        Most = (Most * Math.Pow(2, -1 / _halfLife)) + 1;
    }

    public void Use(int key)
    {
        double now = Now;
        double stored = _scaled[key];
        _scaled[key] = stored > Never ? now + Math.Log2(Math.Pow(2, stored - now) + 1) : now;
    }

    /// <summary>Orders experts by their counts at any one time; <see cref="Never"/> for those without a use.</summary>
    public double Rank(int key) => _scaled[key];

    /// <summary>The count of an expert as of now.</summary>
    public double Count(int key) => Math.Pow(2, _scaled[key] - Now);

    /// <summary>Copies the counts out, as of now.</summary>
    /// <param name="counts">(keys).</param>
    public void Export(Span<double> counts)
    {
        for (int key = 0; key < _scaled.Length; key++)
        {
            counts[key] = Count(key);
        }
    }

    /// <summary>Takes over counts as if they had been made by now; earlier ones are forgotten.</summary>
    /// <param name="counts">(keys); what is not a positive number counts as no use.</param>
    /// <param name="most">What <see cref="Most"/> was when they were exported.</param>
    public void Import(ReadOnlySpan<double> counts, double most)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(counts.Length, _scaled.Length);
        for (int key = 0; key < counts.Length; key++)
        {
            _scaled[key] = counts[key] > 0 && double.IsFinite(counts[key]) ? Math.Log2(counts[key]) + Now : Never;
        }

        Most = most > 0 && double.IsFinite(most) ? most : 0;
    }
}
