// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Plan;

/// <summary>Numbers and names of a plan as people read them.</summary>
internal static class PlanWords
{
    /// <summary>Where a GPU's figures are from. docs/plan.md says how far they were off.</summary>
    public const string GpuState = "estimated from the design; a step of the one card that was measured took half as long again";

    public static string Gigabytes(double bytes) => bytes >= 1e8 || bytes == 0 ? Invariant($"{bytes / 1e9:F1} GB") : Invariant($"{bytes / 1e6:F1} MB");

    public static string GigabytesPerSecond(double rate) => Invariant($"{rate / 1e9:0.#} GB/s");

    /// <summary>Two digits that matter.</summary>
    public static string Rate(double perSecond) => perSecond switch
    {
        >= 100 => Invariant($"{perSecond:F0}"),
        >= 10 => Invariant($"{perSecond:F1}"),
        >= 0.1 => Invariant($"{perSecond:F2}"),
        _ => Invariant($"{perSecond:G2}"),
    };

    public static string Duration(double seconds) => seconds switch
    {
        < 1 => Invariant($"{seconds * 1000:F0} ms"),
        < 10 => Invariant($"{seconds:F1} s"),
        < 120 => Invariant($"{seconds:F0} s"),
        < 7200 => Invariant($"{seconds / 60:F0} min"),
        < 172_800 => Invariant($"{seconds / 3600:F1} h"),
        _ => Invariant($"{seconds / 86_400:N0} days"),
    };

    public static string Money(double amount) => amount >= 0.1 || amount == 0 ? Invariant($"{amount:N2}") : Invariant($"{amount:G2}");

    public static string Tokens(int count) => count % 1024 == 0 ? Invariant($"{count / 1024}K") : Invariant($"{count}");

    public static string Percent(double share) => Invariant($"{100 * share:F0}%");

    public static string Factor(double factor) => double.IsFinite(factor) ? Invariant($"x{factor:F2}") : "makes it fit";

    public static string Of(PlanBound bound) => bound switch
    {
        PlanBound.Drive => "drive",
        PlanBound.Memory => "memory",
        PlanBound.Compute => "compute",
        PlanBound.Gpu => "GPU",
        _ => "GPU link",
    };

    public static string Of(PlanPlace place) => place switch
    {
        PlanPlace.Gpu => "GPU",
        PlanPlace.Memory => "RAM",
        _ => "drive",
    };

    public static string Of(FactOrigin origin) => origin switch
    {
        FactOrigin.Given => "given",
        FactOrigin.Measured => "measured here",
        _ => "assumed",
    };

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
