// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Tests.Constraints;

/// <summary>Schemas whose branches of <c>oneOf</c> differ by the names that they require, and by nothing else.</summary>
internal static class Variants
{
    /// <summary>30 letters that begin unlike those of the others.</summary>
    public static string Name(int variant) => string.Concat(Enumerable.Range(1, 30).Select(i => (char)('a' + (variant * 7919 / i % 26)))) + variant.ToString(CultureInfo.InvariantCulture);

    public static string OfObject(int count, int first = 0) => Of(count, first, "");

    public static string OfOpenObject(int count) => Of(count, 0, ",\"additionalProperties\":true");

    private static string Of(int count, int first, string beside)
    {
        IEnumerable<string> branches = Enumerable.Range(first, count).Select(i => "{\"type\":\"object\",\"properties\":{\"" + Name(i) + "\":{\"type\":\"string\"}},\"required\":[\"" + Name(i) + "\"]}");
        return $"{{\"type\":\"object\"{beside},\"oneOf\":[{string.Join(',', branches)}]}}";
    }
}
