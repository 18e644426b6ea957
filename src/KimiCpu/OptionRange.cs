// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu;

/// <summary>Refuses values of options outside their range.</summary>
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
            throw new ArgumentOutOfRangeException(option, found, string.Create(CultureInfo.InvariantCulture, $"{option} takes {range}; found {found ?? "null"}."));
        }
    }
}
