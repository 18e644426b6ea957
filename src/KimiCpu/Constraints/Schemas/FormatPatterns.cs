// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Schemas;

/// <summary>The formats that are enforced, as patterns (RFC 3339, 4122, 5321 in its common form, 1123, 3986 roughly; ISO 8601 durations).</summary>
internal static class FormatPatterns
{
    private const string Clock = @"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?";

    /// <summary>As far from UTC as any place and .NET's types go.</summary>
    private const string Offset = @"(Z|[+-](0\d|1[0-3]):[0-5]\d|[+-]14:00)";
    private const string Label = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";

    /// <summary>Four labels at most, the last one shorter, so that there are no more than 253 characters.</summary>
    private const string Host = "(" + Label + @"\.){0,3}[A-Za-z0-9]([A-Za-z0-9-]{0,59}[A-Za-z0-9])?";
    private const string Octet = @"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)";
    private const string Group = "[0-9A-Fa-f]{1,4}";

    /// <summary>Years 0001 … 9999, with the days that each month has.</summary>
    private const string Date = @"((\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000)-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))|(\d\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)";

    private const string UriCharacters = "A-Za-z0-9._~!$&'()*+,;=";
    private const string UriEscape = "%[0-9A-Fa-f]{2}";
    private const string Segment = "([" + UriCharacters + ":@-]|" + UriEscape + ")";
    private const string Query = @"(\?([" + UriCharacters + ":@/?-]|" + UriEscape + @")*)?(#([" + UriCharacters + ":@/?-]|" + UriEscape + ")*)?";
    private const string Port = @"[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]";
    private const string UriLabel = "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?";

    /// <summary>Formats of the specification (draft 2020-12, validation, 7.3) that are not among the patterns.</summary>
    private static readonly HashSet<string> s_notEnforced = new(StringComparer.Ordinal) { "idn-email", "idn-hostname", "iri", "iri-reference", "uri-template", "relative-json-pointer", "regex" };

    private static readonly Dictionary<string, string> s_patterns = new(StringComparer.Ordinal)
    {
        ["date"] = Date,

        // Without an offset, too: generators of .NET write the format for TimeOnly, which reads none, while RFC 3339 demands one.
        ["time"] = $"{Clock}{Offset}?",
        ["date-time"] = $"{Date}T{Clock}{Offset}",
        ["duration"] = @"P(\d{1,9}W|(\d{1,9}Y(\d{1,9}M)?(\d{1,9}D)?|\d{1,9}M(\d{1,9}D)?|\d{1,9}D)(T(\d{1,9}H(\d{1,9}M)?(\d{1,9}S)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))?|T(\d{1,9}H(\d{1,9}M)?(\d{1,9}S)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))",
        ["email"] = @"[A-Za-z0-9_+-]{1,32}(\.[A-Za-z0-9_+-]{1,31})?@" + Label + @"(\." + Label + @"){0,2}\.[A-Za-z]{2,24}",
        ["hostname"] = Host,
        ["ipv4"] = $@"{Octet}(\.{Octet}){{3}}",
        ["ipv6"] = Ipv6(),
        ["uri"] = Uri(),
        ["uri-reference"] = $"{Uri()}|({Hierarchy()}|/({Segment}+(/{Segment}*)*)?|([{UriCharacters}@-]|{UriEscape})+(/{Segment}*)*)?{Query}",
        ["json-pointer"] = "(/([^/~]|~[01])*)*",
        ["uuid"] = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    };

    public static IEnumerable<string> Names => s_patterns.Keys;

    /// <summary>Null for a format that is not known.</summary>
    public static string? Of(string name) => s_patterns.GetValueOrDefault(name);

    /// <summary>Whether the texts of a pattern here have ASCII alone, and nothing that JSON escapes: they do unless it says what a character is not.</summary>
    public static bool IsAscii(string pattern) => !pattern.Contains("[^", StringComparison.Ordinal);

    /// <summary>Whether the specification knows a format that no pattern is here for.</summary>
    public static bool IsNotEnforced(string name) => s_notEnforced.Contains(name);

    /// <summary>Schemes have two letters and more, as all that are registered: <c>C:</c> is a drive for many readers.</summary>
    private static string Uri() => $"[A-Za-z][A-Za-z0-9+.-]{{1,15}}:({Hierarchy()}|/?{Segment}+(/{Segment}*)*)?{Query}";

    /// <summary>
    /// Host and path. A host, which RFC 3986 lets be any text, is a name, an address, or missing before a path. What comes before
    /// a host is bounded, so that it ends, and labels are not counted, so that there are few states beside a length.
    /// </summary>
    private static string Hierarchy() =>
        $@"//((([{UriCharacters}:-]|{UriEscape}){{1,32}}@)?{UriLabel}(\.{UriLabel})*|\[({Ipv6()})\])(:({Port}))?(/{Segment}*)*|//(/{Segment}*)+";

    /// <summary>Eight groups, or fewer with one gap.</summary>
    private static string Ipv6()
    {
        var forms = new List<string> { $"{Group}(:{Group}){{7}}" };
        for (int before = 0; before <= 7; before++)
        {
            string head = before == 0 ? "" : $"{Group}(:{Group}){{{before - 1}}}";
            string tail = before == 7 ? "" : $"({Group}(:{Group}){{0,{6 - before}}})?";
            forms.Add($"{head}::{tail}");
        }

        return string.Join('|', forms);
    }
}
