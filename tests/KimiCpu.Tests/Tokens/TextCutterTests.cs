// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Tokens;

/// <summary>Where long texts are cut decides their tokens. The published wrapper, written down once more, says where.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class TextCutterTests
{
    private const int Stretch = 400_000;
    private const int Run = 25_000;

    /// <summary>What Python's <c>isspace</c> is true of.</summary>
    private static readonly HashSet<int> s_spaces =
        [.. Enumerable.Range(0x09, 5), .. Enumerable.Range(0x1C, 5), 0x85, 0xA0, 0x1680, .. Enumerable.Range(0x2000, 11), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000];

    private static IEnumerable<TestCaseData> Texts()
    {
        yield return Case("short words beyond a stretch", Repeat("ab ", 140_000));
        yield return Case("just a stretch", Repeat("ab c", Stretch / 4));
        yield return Case("a run just long enough", Repeat("x", Run) + Repeat(" ", Run) + "x");
        yield return Case("a run that is too long by one", "y " + Repeat("x", Run + 1) + " y");
        yield return Case("long runs", Repeat("x", (2 * Run) + 7) + " " + Repeat("y", Run + 7));
        yield return Case("blanks", "a" + Repeat(" ", 60_000) + "b");
        yield return Case("separators that are blank for Python alone", Repeat("\u001c\u001d\u001e\u001f", 10_000));
        yield return Case("what looks blank and is not", Repeat("\u200b\ufeff", 20_000));
        yield return Case("blanks of all kinds", Repeat(string.Concat(s_spaces.Order().Select(char.ConvertFromUtf32)), 2_000));
        yield return Case("a run across the stretch's end", Repeat("x y ", (Stretch - 10_000) / 4) + Repeat("x", 60_000));
        yield return Case("two units of UTF-16 a character", Repeat("😀 ", (Stretch / 2) + 1));
        yield return Case("four bytes a character", Repeat("😀", Stretch + 1));
        yield return Case("three bytes a character", Repeat("漢字 ", 150_000));
        yield return Case("a control token across the stretch's end", Repeat("ab c", (Stretch - 4) / 4) + "<|im_end|> and <|im_end|>");

        static TestCaseData Case(string name, string text) => new TestCaseData(text).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Texts))]
    [CancelAfter(120_000)]
    public Task Texts_are_cut_where_the_published_wrapper_cuts_them(string text, CancellationToken cancellationToken) =>
        Task.Run(() => Compare(text), cancellationToken).WaitAsync(cancellationToken);

    private static void Compare(string text)
    {
        List<string> expected = Wrapper(text);
        Assert.That(Parts(text), Is.EqualTo(expected));
        Assert.That(string.Concat(expected), Is.EqualTo(text));
        foreach (bool allowSpecial in new[] { false, true })
        {
            Assert.That(TokenizerCases.Tokenizer.Encode(text, allowSpecial).SequenceEqual(expected.SelectMany(p => TokenizerCases.Tokenizer.Encode(p, allowSpecial))));
        }
    }

    private static string Repeat(string unit, int count) => new StringBuilder().Insert(0, unit, count).ToString();

    private static List<string> Parts(string text)
    {
        var parts = new List<string>();
        var cutter = new TextCutter(Encoding.UTF8.GetBytes(text));
        while (cutter.MoveNext(out ReadOnlySpan<byte> part))
        {
            parts.Add(Encoding.UTF8.GetString(part));
        }

        return parts;
    }

    /// <summary>Stretches of code points, and in each the parts that its runs leave.</summary>
    private static List<string> Wrapper(string text)
    {
        Rune[] characters = [.. text.EnumerateRunes()];
        var parts = new List<string>();
        foreach (Rune[] stretch in characters.Chunk(Stretch))
        {
            int start = 0;
            int run = 0;
            bool blank = s_spaces.Contains(stretch[0].Value);
            for (int i = 0; i < stretch.Length; i++)
            {
                bool now = s_spaces.Contains(stretch[i].Value);
                run = now == blank ? run + 1 : 1;
                blank = now;
                if (run > Run)
                {
                    parts.Add(string.Concat(stretch[start..i]));
                    (start, run) = (i, 1);
                }
            }

            parts.Add(string.Concat(stretch[start..]));
        }

        return parts;
    }
}
