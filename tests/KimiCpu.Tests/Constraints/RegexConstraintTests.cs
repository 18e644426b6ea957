// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.RegularExpressions;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Masks;
using KimiCpu.Constraints.RegularExpressions;

namespace KimiCpu.Tests.Constraints;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class RegexConstraintTests
{
    private static readonly string[] s_patterns =
    [
        "abc", "a*", "(a|b)*c", "a{2,4}b{3}", "[abc]{0,20}c", "(ab|a)(bc|c)?", "[^a]b+", "a.c", "(a(b(c)?)?)?", "(a|ab|abc){1,3}", "a?b?c?", "[a-c]+|cab", "^ab$|^ba$", "(?:a|)b", "a+?b*?", "(?<n>a)b",
        "(a|aa){3,9}", "[\\w]{9,12}", "\\d+|\\D", "\\s?a\\S", "é|a", "[ab]{10,}", ".{0,12}", "(.{9,11}a)?b*", "(a*b*){2}", "((a|b)(c|)){2}", "\\x61\\u0062|\\u{63}", "[\\]a-]+", "a{,2}", "\\p{L}\\P{L}?",
        "[\\p{L}-.]+", "[1\\p{L}-2-]*", "[\\p{N}--b]+",
        "(^a|b)(c|a$)", "x|[^x]{2}", "", "a|", "()",
    ];

    [TestCaseSource(nameof(s_patterns))]
    public void Short_texts_are_matched_as_by_the_framework(string pattern)
    {
        ConstraintReader reader = new(KimiConstraint.Regex(pattern));
        Regex oracle = Oracle(pattern);
        foreach (string text in Texts("abc", 6).Concat(Texts("a é\n1-{,2}", 3)))
        {
            Assert.That(reader.AcceptsBytes(text), Is.EqualTo(oracle.IsMatch(text)), $"'{text}'");
        }
    }

    [TestCaseSource(nameof(s_patterns))]
    public void Random_tokens_under_the_mask_match(string pattern)
    {
        ConstraintReader reader = new(KimiConstraint.Regex(pattern));
        Regex oracle = Oracle(pattern);
        for (int seed = 0; seed < 40; seed++)
        {
            string text = reader.Sample(new Random(seed));
            if (!text.Any(char.IsSurrogate))
            {
                // The framework takes half of a pair for a character.
                Assert.That(oracle.IsMatch(text), Is.True, text);
            }
        }
    }

    [Test]
    public void Random_patterns_match_as_by_the_framework()
    {
        var random = new Random(11);
        for (int i = 0; i < 300; i++)
        {
            string pattern = RandomPattern(random, 3);
            ConstraintReader reader = new(KimiConstraint.Regex(pattern));
            Regex oracle = Oracle(pattern);
            foreach (string text in Texts("ab", 7))
            {
                Assert.That(reader.AcceptsBytes(text), Is.EqualTo(oracle.IsMatch(text)), $"'{pattern}' on '{text}'");
            }
        }
    }

    [Test]
    public void A_point_is_no_line_break([Values("\n", "\r", "\u2028", "\u2029")] string breaks)
    {
        ConstraintReader reader = new(KimiConstraint.Regex("a.{0,20}"));
        Assert.That(reader.AcceptsBytes($"a{breaks}"), Is.False);
        Assert.That(reader.Accepts($"ab{breaks}"), Is.False);
        Assert.That(reader.AcceptsBytes("a\u0085\u2027\u202a\u2068"), Is.True);
        Assert.That(ConstraintReader.OfSchema("""{"type":"string","pattern":"a.b"}""").AcceptsBytes($"\"a{breaks.Replace("\n", "\\n").Replace("\r", "\\r")}b\""), Is.False);
        reader.Sample(new Random(1), visit: (state, _) => Assert.That(!state.Accepts || state.Frames.Length == 0 || state.Frames.Any(f => f.Shortest > 0), "most tokens need no look"));
        Assert.That(ConstraintReader.OfSchema("""{"type":"string"}""").AcceptsBytes("\"a\u2028b\u2029\""), Is.True);
    }

    [TestCase("^b", "bx", true)]
    [TestCase("^b", "xb", false)]
    [TestCase("b$", "xb", true)]
    [TestCase("b$", "bx", false)]
    [TestCase("b", "xbx", true)]
    [TestCase("^b|c$", "xc", true)]
    [TestCase("^b|c$", "xbx", false)]
    [TestCase("(^|-)b", "b", true)]
    [TestCase("(^|-)b", "x-b", true)]
    [TestCase("(^|-)b", "xb", false)]
    [TestCase("^$", "", true)]
    [TestCase("^$", "x", false)]
    [TestCase("b\"\\\\", "b\"\\", true)]
    [TestCase("\\n", "a\nb", true)]
    public void Patterns_of_schemas_search(string pattern, string text, bool found)
    {
        ConstraintReader reader = ConstraintReader.OfSchema($$"""{"type":"string","pattern":{{System.Text.Json.JsonSerializer.Serialize(pattern)}}}""");
        string json = "\"" + text.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\n", "\\n") + "\"";
        Assert.That(reader.Accepts(json), Is.EqualTo(found));
        Assert.That(Regex.IsMatch(text, pattern), Is.EqualTo(found), "the framework agrees");
    }

    [TestCase("a(")]
    [TestCase("a)")]
    [TestCase("[a")]
    [TestCase("[]")]
    [TestCase("*a")]
    [TestCase("a**")]
    [TestCase("a{3,2}")]
    [TestCase("(?i)a")]
    [TestCase("(?!a)")]
    [TestCase("(?<=a)b")]
    [TestCase("(a)\\1")]
    [TestCase("\\bword")]
    [TestCase("a^b")]
    [TestCase("a$b")]
    [TestCase("[z-a]")]
    [TestCase("[a-\\d]")]
    [TestCase("[\\w-[b]]")]
    [TestCase("\\u12")]
    [TestCase("\\ud83d")]
    [TestCase("\\p{Greek}")]
    [TestCase("a\\")]
    [TestCase("[a-z-[b]]")]
    [TestCase("a{1000000}")]
    [TestCase("[^\\u{0}-\\u{10FFFF}]")]
    public void What_is_no_supported_pattern_is_refused(string pattern) =>
        Assert.That(() => KimiConstraint.Regex(pattern), Throws.TypeOf<KimiConstraintException>());

    [Test]
    public void Hostile_patterns_end_with_an_exception()
    {
        string[] hostile = ["(((a{1,999}){1,999}){1,999}){1,999}", "(a|b)*a(a|b){40}", new string('(', 500) + new string(')', 500), new string('a', 30_000), "((a|b|ab)*c){50000,90000}"];
        foreach (string pattern in hostile)
        {
            Assert.That(() => KimiConstraint.Regex(pattern), Throws.TypeOf<KimiConstraintException>(), pattern[..15]);
        }
    }

    /// <summary>A call of a method for each of them would end the process.</summary>
    [Test, CancelAfter(120_000)]
    public void Long_rows_of_parts_that_may_be_empty_need_no_stack([Values] bool inSchema)
    {
        const string Pattern = "(a{0,9}){3000}";
        bool? accepts = null;
        Exception? failure = null;
        var thread = new Thread(
            () =>
            {
                try
                {
                    KimiConstraint constraint = inSchema ? KimiConstraint.JsonSchema($$"""{"type":"string","pattern":"^{{Pattern}}$"}""") : KimiConstraint.Regex(Pattern);
                    TokenAutomaton automaton = constraint.For(ConstraintReader.Tokenizer);
                    string text = new('a', 40);
                    accepts = automaton.Read(automaton.Start, Encoding.UTF8.GetBytes(inSchema ? $"\"{text}\"" : text)).Accepts;
                }
                catch (Exception e)
                {
                    // Here it would end the process, as an overflow of the stack does.
                    failure = e;
                }
            },
            maxStackSize: 256 * 1024);
        thread.Start();
        thread.Join();
        Assert.That(failure, Is.Null);
        Assert.That(accepts, Is.True);
    }

    /// <summary>Alternatives of one byte have no states of their own, so the states that are counted tell nothing of them.</summary>
    [Test, CancelAfter(60_000)]
    public void Alternatives_are_counted_before_they_are_multiplied([Values] bool inSchema)
    {
        string pattern = $"({string.Join('|', Enumerable.Repeat("a", 9000))}){{1000}}";
        Assert.That(
            () => inSchema ? KimiConstraint.JsonSchema($$"""{"type":"string","pattern":"{{pattern}}"}""") : KimiConstraint.Regex(pattern),
            Throws.TypeOf<KimiConstraintException>().With.Message.Contains("4,000,000 edges"));
    }

    /// <summary>Sets of characters are read and written before there is any automaton whose states are counted.</summary>
    [Test, CancelAfter(60_000)]
    public void Large_sets_of_characters_are_counted(CancellationToken cancellationToken)
    {
        string everyOther = "[" + string.Concat(Enumerable.Range(0, 9990).Select(i => (char)(0x3400 + (2 * i)))) + "]";
        var budget = new CompileBudget(cancellationToken);
        Assert.That(RegexParser.Parse(everyOther, budget), Is.InstanceOf<RegexNode>());
        Assert.That(budget.Work, Is.GreaterThan(9990));
        Assert.That(() => KimiConstraint.Regex(string.Concat(Enumerable.Repeat("[\\p{Ll}]", 2000)), cancellationToken), Throws.TypeOf<KimiConstraintException>());
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        Assert.That(() => RegexParser.Parse(everyOther, new CompileBudget(cancelled.Token)), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void A_hyphen_behind_a_set_is_a_character()
    {
        ConstraintReader reader = ConstraintReader.OfSchema("""{"type":"string","pattern":"^[\\w-.]+@([\\w-]+\\.)+[\\w-]{2,4}$"}""");
        Assert.That(reader.AcceptsBytes("\"a-b.c@d-e.org\""), Is.True);
        Assert.That(reader.AcceptsBytes("\"a+b@d.org\""), Is.False);
    }

    [Test]
    public void Characters_may_be_divided_among_tokens()
    {
        ConstraintReader reader = new(KimiConstraint.Regex("[é漢😀]{3}"));
        Assert.That(reader.AcceptsBytes("é漢😀"), Is.True);
        Assert.That(reader.AcceptsBytes("é漢"), Is.False);
        for (int seed = 0; seed < 30; seed++)
        {
            string text = reader.Sample(new Random(seed));
            Assert.That(text.EnumerateRunes().Count(), Is.EqualTo(3));
        }
    }

    [Test]
    public void Halves_of_surrogate_pairs_are_refused()
    {
        Assert.That(() => KimiConstraint.Regex("a\ud800"), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("character 1"));
        Assert.That(() => KimiConstraint.Choice(["\U0001F600", "\udc00"]), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("character 0"));
    }

    [Test]
    public void Choices_are_the_texts_exactly()
    {
        string[] choices = ["yes", "yes, please", "no", "ja 漢", "\"<|im_end|>"];
        ConstraintReader reader = new(KimiConstraint.Choice(choices));
        Assert.That(choices.All(reader.Accepts), Is.True);
        Assert.That(reader.Accepts("ye") || reader.Accepts("nope") || reader.Accepts("") || reader.Accepts("yes, "), Is.False);
        Assert.That(Enumerable.Range(0, 100).Select(seed => reader.Sample(new Random(seed))).Distinct(), Is.EquivalentTo(choices));
        Assert.That(() => KimiConstraint.Choice([]), Throws.TypeOf<KimiConstraintException>());
    }

    /// <summary>All texts of the characters, up to a length.</summary>
    private static IEnumerable<string> Texts(string alphabet, int length) =>
        length == 0 ? [""] : Texts(alphabet, length - 1).SelectMany(t => t.Length == length - 1 ? [t, .. alphabet.Select(c => t + c)] : new[] { t });

    /// <summary>With the classes of ECMAScript spelt out, since .NET's own option for them forbids other syntax.</summary>
    private static Regex Oracle(string pattern)
    {
        const string Blanks = "\\t-\\r \\xA0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000\\uFEFF";
        string classes = pattern.Replace("\\d", "[0-9]").Replace("\\D", "[^0-9]").Replace("[\\w]", "[A-Za-z0-9_]").Replace("\\s", $"[{Blanks}]").Replace("\\S", $"[^{Blanks}]").Replace("\\u{63}", "c");
        return new Regex($"\\A(?:{classes})\\z", RegexOptions.CultureInvariant);
    }

    private static string RandomPattern(Random random, int depth)
    {
        string Part() => RandomPattern(random, depth - 1);
        return (depth == 0 ? random.Next(3) : random.Next(10)) switch
        {
            0 => "a",
            1 => "b",
            2 => random.Next(2) == 0 ? "[ab]" : "[^a]",
            3 or 4 => Part() + Part(),
            5 => $"(?:{Part()}|{Part()})",
            6 => $"(?:{Part()})*",
            7 => $"(?:{Part()}){{{random.Next(3)},{random.Next(3, 5)}}}",
            8 => $"(?:{Part()})?",
            _ => $"(?:{Part()})+",
        };
    }
}
