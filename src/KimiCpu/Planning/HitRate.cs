// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Planning;

/// <summary>How many of the experts that a token needs are in memory.</summary>
internal static class HitRate
{
    /// <param name="share">Resident share of the routed experts, 0 … 1.</param>
    /// <param name="skew">Zipf exponent of their use, at least 0; 0 is flat.</param>
    /// <param name="bonus">Points gained near a share of one half because successive tokens use like experts, 0 … 0.25.</param>
    /// <param name="experts">Of a layer.</param>
    /// <returns>0 … 1; never falls with the share, 0 without residents and 1 with all.</returns>
    public static double Of(double share, double skew, double bonus, int experts)
    {
        double popular = Popular(Math.Clamp(share, 0, 1), skew, experts);

        // No cache hits nothing and a whole one everything, so the bonus fades to both ends.
        return Math.Clamp(popular + (bonus * 4 * popular * (1 - popular)), 0, 1);
    }

    /// <summary>What the most popular experts are used for, where the e-th most popular one is used in proportion to 1 / e^skew.</summary>
    private static double Popular(double share, double skew, int experts)
    {
        if (skew == 0 || experts == 0)
        {
            return share;
        }

        double resident = share * experts;
        (double inside, double all) = (0, 0);
        for (int e = 0; e < experts; e++)
        {
            double use = Math.Pow(e + 1, -skew);
            inside += use * Math.Clamp(resident - e, 0, 1);
            all += use;
        }

        return inside / all;
    }
}
