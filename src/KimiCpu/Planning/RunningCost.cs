// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Planning;

/// <summary>What answers cost in electricity. Prices are in whatever currency they are given in.</summary>
/// <param name="Watts">Of the whole machine while it decodes.</param>
/// <param name="PricePerKilowattHour">Of electricity.</param>
/// <param name="ApiPrice">Of a million output tokens elsewhere; null where none was given.</param>
internal sealed record RunningCost(double Watts, double PricePerKilowattHour, double? ApiPrice)
{
    private const double Million = 1e6;
    private const double JoulesPerKilowattHour = 3.6e6;

    /// <summary>A million output tokens at so many tokens per second.</summary>
    public double PerMillion(double tokensPerSecond) => Million / tokensPerSecond * Watts / JoulesPerKilowattHour * PricePerKilowattHour;

    /// <summary>Seconds for a million output tokens.</summary>
    public static double SecondsPerMillion(double tokensPerSecond) => Million / tokensPerSecond;

    /// <summary>Tokens per second at which electricity costs what the API does; null without its price.</summary>
    public double? BreakEvenTokensPerSecond => ApiPrice is { } price ? PerMillion(1) / price : null;
}
