// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Extensions.AI.Hosting;

/// <summary>Whether a value of a configuration can become what an option is, and in words what that is.</summary>
internal static class ConfigurationValue
{
    /// <param name="text">The value, not empty.</param>
    /// <param name="type">Of the option.</param>
    /// <returns>What is expected; null where the value is that.</returns>
    public static string? ExpectedInPlaceOf(string text, Type type)
    {
        if (type == typeof(bool))
        {
            return bool.TryParse(text, out _) ? null : "true or false";
        }

        if (type == typeof(TimeSpan))
        {
            // The binder would take a number for days.
            return text.Contains(':', StringComparison.Ordinal) && TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out _)
                ? null
                : "a time as hours, minutes and seconds, such as 00:00:15 or 00:00:00.5";
        }

        if (type == typeof(float))
        {
            return float.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out _) ? null : "a number";
        }

        // Sizes of memory are the only options of that type, and elsewhere they have units.
        return type == typeof(int) ? WholeNumber(text, int.MinValue, int.MaxValue, "")
            : type == typeof(long) ? WholeNumber(text, long.MinValue, long.MaxValue, " of bytes")
            : null;
    }

    private static string? WholeNumber(string text, Int128 least, Int128 most, string unit) =>
        !Int128.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out Int128 number) ? $"a whole number{unit}"
        : number < least || number > most ? string.Create(CultureInfo.InvariantCulture, $"a whole number of {least} … {most}")
        : null;
}
