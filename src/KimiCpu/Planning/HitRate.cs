// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Planning;

/// <summary>How many of the experts that a token needs are in memory.</summary>
internal static class HitRate
{
    /// <param name="share">Resident share of the routed experts, 0 … 1.</param>
    /// <param name="bonus">Points gained near a share of one half because successive tokens use like experts, 0 … 0.25.</param>
    /// <returns>0 … 1; never falls with the share, 0 without residents and 1 with all.</returns>
    public static double Of(double share, double bonus)
    {
        double resident = Math.Clamp(share, 0, 1);

        // No cache hits nothing and a whole one everything, so the bonus fades to both ends.
        return Math.Clamp(resident + (bonus * 4 * resident * (1 - resident)), 0, 1);
    }
}
