// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

/// <summary>Stop sequences that overlap, in texts that are divided in every way.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class StopMatcherTests
{
    private static readonly TestCaseData[] s_overlapping =
    [
        new(new[] { "b", "abc" }, "xabcd", "xa", "b"),
        new(new[] { "abc", "b" }, "xabcd", "xa", "b"),
        new(new[] { "ab", "abc" }, "xabcd", "x", "ab"),
        new(new[] { "abc", "ab" }, "xabcd", "x", "ab"),
        new(new[] { "bc", "abc" }, "xabcd", "x", "abc"),
        new(new[] { "abc", "bc" }, "xabcd", "x", "abc"),
        new(new[] { "\nUser:", "User" }, "Hi\nUser: a", "Hi\n", "User"),
        new(new[] { "abcd", "bce" }, "abce", "a", "bce"),
        new(new[] { "aab" }, "aaab", "a", "aab"),
        new(new[] { "abc", "cd" }, "abxabdc", "abxabdc", null),
    ];

    /// <summary>As if it were read character by character.</summary>
    [TestCaseSource(nameof(s_overlapping))]
    public void What_is_found_does_not_depend_on_how_the_text_is_divided(string[] stops, string text, string expected, string? found)
    {
        for (int cuts = 0; cuts < 1 << (text.Length - 1); cuts++)
        {
            var matcher = new StopMatcher(stops);
            string shown = "";
            int from = 0;
            for (int to = 1; to <= text.Length; to++)
            {
                if (to == text.Length || ((cuts >> (to - 1)) & 1) != 0)
                {
                    shown += matcher.Append(text[from..to]);
                    from = to;
                }
            }

            shown += matcher.Flush();
            Assert.That((shown, matcher.Found), Is.EqualTo((expected, found)), $"cut by {cuts:b}");
        }
    }
}
