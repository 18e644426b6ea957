// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace KimiCpu;

/// <summary>Refuses values of options outside their range, and null where there has to be something.</summary>
internal static class OptionRange
{
    /// <param name="condition">Whether the value is inside.</param>
    /// <param name="option">The option's name.</param>
    /// <param name="found">Its value.</param>
    /// <param name="range">What it takes, in words.</param>
    /// <exception cref="ArgumentOutOfRangeException">The value is outside.</exception>
    public static void Require(bool condition, string option, object? found, string range)
    {
        if (!condition)
        {
            throw CallersMistake.Of(new ArgumentOutOfRangeException(option, found, string.Create(CultureInfo.InvariantCulture, $"{option} takes {range}; found {found ?? "null"}.")));
        }
    }

    /// <param name="value">What the option has.</param>
    /// <param name="option">The option's name.</param>
    /// <param name="range">What it takes, in words.</param>
    /// <exception cref="ArgumentNullException">The value is null.</exception>
    public static void RequireGiven([NotNull] object? value, string option, string range)
    {
        if (value is null)
        {
            throw CallersMistake.Of(new ArgumentNullException(option, $"{option} takes {range}; found null."));
        }
    }
}
