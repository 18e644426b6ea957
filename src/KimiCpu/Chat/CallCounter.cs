// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Chat;

/// <summary>
/// Counts the calls of a conversation. Where its beginning was left out, ids have indexes beyond the number of calls, and the next one
/// must not have an id that is there already.
/// </summary>
/// <param name="rewrites">Whether every call is shown with an id by its place, so that what their ids are does not matter.</param>
internal sealed class CallCounter(bool rewrites = false)
{
    /// <summary>No conversation has as many; a larger index, which anybody may make up, is none that is counted on from.</summary>
    private const int MostCalls = 1_000_000;

    private int _count;
    private int _afterLargest;

    /// <summary>Index of the next call.</summary>
    public int Next => Math.Max(_count, _afterLargest);

    public void Add(KimiToolCall call)
    {
        _count++;
        if (!rewrites && HasOwnId(call) && int.TryParse(call.Id.AsSpan(PrefixOf(call).Length), NumberStyles.None, CultureInfo.InvariantCulture, out int index) && index < MostCalls)
        {
            _afterLargest = Math.Max(_afterLargest, index + 1);
        }
    }

    /// <summary>Whether an id is one that models are trained on, <c>functions.NAME:IDX</c>.</summary>
    public static bool HasOwnId(KimiToolCall call)
    {
        string prefix = PrefixOf(call);
        return call.Id.Length > prefix.Length && call.Id.StartsWith(prefix, StringComparison.Ordinal) && !call.Id.AsSpan(prefix.Length).ContainsAnyExceptInRange('0', '9');
    }

    private static string PrefixOf(KimiToolCall call) => $"functions.{call.Name}:";
}
