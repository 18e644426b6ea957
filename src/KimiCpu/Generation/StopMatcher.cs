// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Generation;

/// <summary>
/// Finds stop sequences in streamed text, and holds back what could be the beginning of one. The sequence that is whole first ends the
/// text, and of those that end together the longest: what is found does not depend on how the text was divided.
/// </summary>
internal sealed class StopMatcher
{
    private readonly IReadOnlyList<string> _stops;
    private string _held = "";

    public StopMatcher(IReadOnlyList<string> stops) => _stops = stops;

    /// <summary>The stop sequence that was found, after which nothing is released; null for none yet.</summary>
    public string? Found { get; private set; }

    /// <summary>Takes more text and returns what can be shown.</summary>
    public string Append(string text)
    {
        if (_stops.Count == 0 || Found is not null)
        {
            return Found is not null ? "" : text;
        }

        string all = _held + text;
        int begin = -1;
        int end = int.MaxValue;
        foreach (string stop in _stops)
        {
            int at = all.IndexOf(stop, StringComparison.Ordinal);
            if (at >= 0 && (at + stop.Length < end || (at + stop.Length == end && at < begin)))
            {
                (begin, end, Found) = (at, at + stop.Length, stop);
            }
        }

        if (begin >= 0)
        {
            _held = "";
            return all[..begin];
        }

        int keep = LongestBeginning(all);
        _held = all[^keep..];
        return all[..^keep];
    }

    /// <summary>What was held back at the end of the answer.</summary>
    public string Flush()
    {
        string rest = _held;
        _held = "";
        return rest;
    }

    private int LongestBeginning(string text)
    {
        int longest = 0;
        foreach (string stop in _stops)
        {
            for (int length = Math.Min(stop.Length - 1, text.Length); length > longest; length--)
            {
                if (text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length)))
                {
                    longest = length;
                }
            }
        }

        return longest;
    }
}
