// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// What stands in a tool's result for a part of it that is no text. The model asked for it unaware of what would come: to refuse it would end the
/// loop in which tools are called, and the conversation with it, since clients send all of it again.
/// </summary>
internal static class NotShown
{
    /// <param name="kind">A media type, or what the interface calls it.</param>
    /// <param name="bytes">Its length.</param>
    public static string Data(string kind, long bytes) => Of(string.Create(CultureInfo.InvariantCulture, $"{kind}, {bytes:N0} bytes"));

    /// <param name="kind">As above.</param>
    public static string InUri(string kind) => Of($"{kind} in its URI");

    /// <param name="kind">As above.</param>
    /// <param name="place">Where it is.</param>
    public static string At(string kind, string place) => Of($"{kind} at {place}");

    /// <param name="what">Says what it is.</param>
    public static string Of(string what) => $"({what}, which this model is not shown)";

    /// <summary>Of data in base64.</summary>
    /// <param name="kind">As above.</param>
    /// <param name="base64">With or without padding.</param>
    public static string Base64(string kind, ReadOnlySpan<char> base64) => Data(kind, base64.TrimEnd('=').Length * 3L / 4);

    /// <summary>Of data that is in a URI or at one, or stands in the place of one as base64.</summary>
    /// <param name="kind">Where the URI does not say it.</param>
    /// <param name="uri">Any text.</param>
    public static string Uri(string kind, string uri)
    {
        const string Scheme = "data:";
        const string Encoding = ";base64";
        if (!uri.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            return uri.Contains("://", StringComparison.Ordinal) ? At(kind, uri) : Base64(kind, uri);
        }

        int comma = uri.IndexOf(',', StringComparison.Ordinal);
        string type = comma < 0 ? "" : uri[Scheme.Length..comma];
        bool isBase64 = type.EndsWith(Encoding, StringComparison.OrdinalIgnoreCase);
        type = isBase64 ? type[..^Encoding.Length] : type;
        type = type.Length > 0 ? type : kind;
        return isBase64 ? Base64(type, uri.AsSpan(comma + 1)) : InUri(type);
    }
}
