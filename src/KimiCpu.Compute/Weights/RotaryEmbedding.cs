// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>
/// Rotation of adjacent pairs (x0,x1), (x2,x3), … by position, with the static YaRN frequencies of the DeepSeek-V3
/// family. Angles are computed in double precision: at position 200 000 a single-precision frequency is off by 0.01 rad.
/// </summary>
internal sealed class RotaryEmbedding
{
    private readonly double[] _frequencies;
    private readonly double _tableFactor;

    /// <param name="size">Values that are rotated, twice the number of pairs.</param>
    /// <param name="theta"><c>rope_theta</c>.</param>
    /// <param name="yarn"><c>rope_scaling</c>, or null for plain rotation.</param>
    public RotaryEmbedding(int size, double theta, YarnScaling? yarn)
    {
        Size = size;
        int pairs = size / 2;
        _frequencies = new double[pairs];
        for (int i = 0; i < pairs; i++)
        {
            _frequencies[i] = Math.Pow(theta, -2.0 * i / size);
        }

        _tableFactor = 1;
        if (yarn is null)
        {
            return;
        }

        // The real-valued pair index whose frequency makes so many turns over the original context.
        double PairOf(double rotations) => size * Math.Log(yarn.OriginalMaxPositions / (rotations * 2 * Math.PI)) / (2 * Math.Log(theta));
        double low = Math.Max(Math.Floor(PairOf(yarn.BetaFast)), 0);
        double high = Math.Min(Math.Ceiling(PairOf(yarn.BetaSlow)), size - 1);
        double span = high == low ? 0.001 : high - low;
        for (int i = 0; i < pairs; i++)
        {
            double ramp = Math.Clamp((i - low) / span, 0, 1);
            _frequencies[i] = (_frequencies[i] / yarn.Factor * ramp) + (_frequencies[i] * (1 - ramp));
        }

        _tableFactor = YarnScaling.MScale(yarn.Factor, yarn.MScaleValue) / YarnScaling.MScale(yarn.Factor, yarn.MScaleAllDim);
    }

    /// <summary>Values that are rotated.</summary>
    public int Size { get; }

    /// <summary>Fills cosines and sines, each of length <see cref="Size"/> / 2, for one position.</summary>
    public void Fill(int position, Span<float> cosines, Span<float> sines)
    {
        for (int i = 0; i < _frequencies.Length; i++)
        {
            (double sin, double cos) = Math.SinCos(position * _frequencies[i]);
            cosines[i] = (float)(cos * _tableFactor);
            sines[i] = (float)(sin * _tableFactor);
        }
    }
}

/// <summary><c>rope_scaling</c> of type <c>yarn</c>.</summary>
internal sealed record YarnScaling(double Factor, double OriginalMaxPositions, double BetaFast, double BetaSlow, double MScaleValue, double MScaleAllDim)
{
    /// <summary>YaRN's magnitude correction, equation 22 of arXiv:2309.00071 generalized by DeepSeek.</summary>
    public static double MScale(double factor, double mscale) => factor <= 1 ? 1 : (0.1 * mscale * Math.Log(factor)) + 1;

    /// <summary>(nope + rope)^-0.5, times mscale_all_dim's magnitude squared where the configuration has one.</summary>
    public static float SoftmaxScale(int queryKeyHeadSize, YarnScaling? yarn)
    {
        double scale = 1 / Math.Sqrt(queryKeyHeadSize);
        if (yarn is { MScaleAllDim: not 0 })
        {
            double magnitude = MScale(yarn.Factor, yarn.MScaleAllDim);
            scale *= magnitude * magnitude;
        }

        return (float)scale;
    }
}
