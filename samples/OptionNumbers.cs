// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Numerics;

namespace KimiCpu.Samples;

/// <summary>Numbers of the command line, refused by the names of their options.</summary>
internal static class OptionNumbers
{
    /// <exception cref="FormatException">It is no temperature.</exception>
    public static float Temperature(string option, string text) =>
        float.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out float value) && value is >= 0 and <= 100
            ? value
            : throw new FormatException($"{option} takes a number from 0 to 100; found '{text}'.");

    /// <exception cref="FormatException">It is no whole number of the type's range.</exception>
    public static T Whole<T>(string option, string text)
        where T : struct, IBinaryInteger<T>, IMinMaxValue<T> =>
        T.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out T value)
            ? value
            : throw new FormatException($"{option} takes a whole number from {T.MinValue} to {T.MaxValue}; found '{text}'.");
}
