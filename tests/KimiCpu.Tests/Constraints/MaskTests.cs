// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Text;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Masks;

namespace KimiCpu.Tests.Constraints;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class MaskTests
{
    /// <summary>Every way of finding a mask: walks, runs of plain characters with and without bounds, and states that share one.</summary>
    private static readonly (string Name, Func<KimiConstraint> Make)[] s_constraints =
    [
        ("object", KimiConstraint.Json),
        ("bounded text", () => KimiConstraint.JsonSchema("""{"type":"object","required":["t"],"properties":{"t":{"type":"string","minLength":3,"maxLength":40}}}""")),
        ("long text", () => KimiConstraint.JsonSchema("""{"type":"array","minItems":1,"maxItems":500,"items":{"type":"string","minLength":90,"maxLength":4000}}""")),
        ("pattern", () => KimiConstraint.JsonSchema("""{"type":"string","pattern":"^[a-z ]{2,30}[0-9]?$"}""")),
        ("pattern and length", () => KimiConstraint.JsonSchema("""{"type":"string","pattern":"e","maxLength":12}""")),
        ("any text", () => KimiConstraint.Regex(".{0,200}")),
        ("text, then more", () => KimiConstraint.Regex(".{3,90}abc|x*")),
        ("all characters", () => KimiConstraint.Regex("(\\s|\\S)*")),
        ("choice", () => KimiConstraint.Choice(["The capital", "The cat", "Then"])),
    ];

    [Test]
    public void Masks_are_what_reading_every_token_gives([ValueSource(nameof(s_constraints))] (string Name, Func<KimiConstraint> Make) constraint)
    {
        KimiConstraint made = constraint.Make();
        ConstraintReader reader = new(made);
        ConstraintReader other = new(constraint.Make());
        int states = 0;
        for (int seed = 0; seed < 12; seed++)
        {
            reader.Sample(new Random(seed), end: 0.05, maxTokens: 120, (state, mask) =>
            {
                // Each look costs a walk over the vocabulary; the first and some of the later ones are enough.
                if (states++ % 7 < 2)
                {
                    bool[] expected = reader.BruteForce(state);
                    bool[] found = [.. Enumerable.Range(0, expected.Length).Select(mask.Contains)];
                    Assert.That(found.AsSpan().SequenceEqual(expected), Is.True, $"step {states} of sample {seed}");
                    Assert.That(mask.Count, Is.EqualTo(expected.Count(e => e)));
                }
            });
            Assert.That(other.Sample(new Random(seed)), Is.EqualTo(reader.Sample(new Random(seed))), "what is cached changes nothing");
        }
    }

    [Test]
    public void Masks_apply_to_every_length_of_logits([Values(0, 1, 63, 64, 65, 127, 128, 200, 256, 300)] int length)
    {
        var random = new Random(length);
        var words = new ulong[4];
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = i == 0 ? 0 : i == 1 ? ulong.MaxValue : (ulong)random.NextInt64();
        }

        var mask = new TokenMask(words);
        float[] logits = [.. Enumerable.Range(0, length).Select(i => i - 7.5f)];
        mask.Apply(logits);
        for (int i = 0; i < length; i++)
        {
            bool allowed = i < 256 && ((words[i / 64] >> (i % 64)) & 1) != 0;
            Assert.That(logits[i], Is.EqualTo(allowed ? i - 7.5f : float.NegativeInfinity));
        }
    }

    /// <summary>Each text of this pattern can be read in thousands of ways, and no two prefixes in the same ones.</summary>
    [Test, CancelAfter(120_000)]
    public void Patterns_made_for_it_do_not_stop_the_engine()
    {
        KimiConstraint constraint = KimiConstraint.JsonSchema("""{"type":"string","pattern":"^(.{0,100}[aeiou ].{0,100}[^aeiou ]){20}$"}""");
        TokenAutomaton automaton = constraint.For(ConstraintReader.Tokenizer);
        AutomatonState state = automaton.Start;
        var random = new Random(3);
        state = automaton.Read(state, Encoding.UTF8.GetBytes("\"" + string.Concat(Enumerable.Range(0, 200).Select(_ => (char)random.Next('a', 'z')))));
        Assert.That(state.Frames, Has.Length.GreaterThan(1000), "else it is no such pattern");
        for (int step = 0; step < 3; step++)
        {
            TokenMask mask = automaton.MaskOf(state);
            Assert.That(automaton.LargestWork, Is.LessThan(TokenTrie.MaxWork + 10_000L));
            Assert.That(constraint.Bytes, Is.LessThan(150_000_000));
            int[] allowed = [.. Enumerable.Range(0, ConstraintReader.Tokenizer.VocabularySize).Where(mask.Contains)];
            Assert.That(allowed.Take(50).Select(t => automaton.Read(state, ConstraintReader.Tokenizer.GetBytes(t)).IsDead), Is.All.False, "what is found is right");
            foreach (int single in Enumerable.Range(0, 256).Select(b => ConstraintReader.Tokenizer.Encode([(byte)b]).Single()))
            {
                Assert.That(mask.Contains(single), Is.EqualTo(!automaton.Read(state, ConstraintReader.Tokenizer.GetBytes(single)).IsDead), "no text is shut out");
            }

            state = automaton.Read(state, ConstraintReader.Tokenizer.GetBytes(allowed[^1]));
        }
    }

    /// <summary>
    /// Names of other members tell bytes apart that are alike to a pattern: these are followed once. A pattern may also tell them apart itself and
    /// come to the same: then each is counted. What is followed is seen by the bytes that it takes.
    /// </summary>
    [TestCase("^([^Z]{0,39}){100}$", 10)]
    [TestCase("^(?:LETTERS){100}$", 40)]
    [CancelAfter(120_000)]
    public void Bytes_are_followed_within_the_bound_of_a_walk(string pattern, long megabytes)
    {
        pattern = pattern.Replace("LETTERS", string.Join('|', ByteLoops.Bytes.ToArray().Select(b => (char)b + "[^Z]{0,39}")));
        (TokenMask alone, _) = Mask("y");
        (TokenMask beside, long bytes) = Mask("yabcdefghijklmnopqrstuvwxzABCDEFGHIJKLMNOPQRSTUVWXY0123456789 !#$%&'()*+,-./:;<=>?@[]^_`{|}~");
        Assert.That(bytes, Is.LessThan(megabytes * 1_000_000));
        int[] text = [.. Enumerable.Range(0, ConstraintReader.Tokenizer.VocabularySize).Where(t => !ConstraintReader.Tokenizer.GetBytes(t).Contains((byte)'"'))];
        Assert.That(text.Where(beside.Contains), Is.EqualTo(text.Where(alone.Contains)), "what is told apart elsewhere changes nothing here");

        (TokenMask Mask, long Bytes) Mask(string name)
        {
            KimiConstraint constraint = KimiConstraint.JsonSchema("{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"string\",\"pattern\":\"" + pattern + "\"},\"" + name + "\":{}}}");
            TokenAutomaton automaton = constraint.For(ConstraintReader.Tokenizer);
            AutomatonState state = automaton.Read(automaton.Start, Encoding.UTF8.GetBytes("{\"x\":\"" + string.Concat(Enumerable.Repeat("some text ", 50))));
            Assert.That(state.Frames, Has.Length.GreaterThan(1000), "else it is no such pattern");
            long before = GC.GetAllocatedBytesForCurrentThread();
            TokenMask mask = automaton.MaskOf(state);
            Assert.That(automaton.LargestWork, Is.LessThan(TokenTrie.MaxWork + 10_000L));
            return (mask, GC.GetAllocatedBytesForCurrentThread() - before);
        }
    }

    [Test]
    public void One_constraint_serves_many_threads()
    {
        KimiConstraint shared = KimiConstraint.JsonSchema("""{"type":"object","additionalProperties":{"type":["string","integer","array"]}}""");
        string[] alone = [.. Enumerable.Range(0, 16).Select(seed => new ConstraintReader(KimiConstraint.JsonSchema("""{"type":"object","additionalProperties":{"type":["string","integer","array"]}}""")).Sample(new Random(seed)))];
        var together = new string[alone.Length];
        Parallel.For(0, alone.Length, seed => together[seed] = new ConstraintReader(shared).Sample(new Random(seed)));
        Assert.That(together, Is.EqualTo(alone));
    }

    /// <summary>More masks than are kept, so that tables are begun anew under readers that hold states of the old ones.</summary>
    [Test]
    public async Task Threads_share_tables_that_are_begun_anew()
    {
        const string Pattern = "([a-c]{4},){300}";
        string[] alone = [.. Enumerable.Range(0, 8).Select(seed => new ConstraintReader(KimiConstraint.Regex(Pattern)).Sample(new Random(seed)))];
        KimiConstraint shared = KimiConstraint.Regex(Pattern);
        TokenAutomaton automaton = shared.For(ConstraintReader.Tokenizer);
        object first = automaton.Start.Owner;
        var together = new string[alone.Length * 2];
        await Task.WhenAll(Enumerable.Range(0, together.Length).Select(i => Task.Factory.StartNew(
            () => together[i] = new ConstraintReader(shared).Sample(new Random(i / 2)),
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default)));
        Assert.That(together, Is.EqualTo(alone.SelectMany(t => new[] { t, t })));
        Assert.That(automaton.Read(automaton.Start, "a"u8).Owner, Is.Not.SameAs(first), "other tables than the first");
    }

    /// <summary>They are counted no more, so whoever limits what constraints take would not know of them.</summary>
    [Test]
    public void Tables_that_no_reader_needs_any_more_are_free()
    {
        KimiConstraint constraint = KimiConstraint.Regex("([a-c]{4},){400}");
        WeakReference first = FirstTables(constraint);
        ReadAll(constraint);
        GC.Collect();
        Assert.That(first.IsAlive, Is.False);
        GC.KeepAlive(constraint);

        // In methods of their own, so that nothing is left of them here.
        [MethodImpl(MethodImplOptions.NoInlining)]
        static WeakReference FirstTables(KimiConstraint constraint)
        {
            TokenAutomaton automaton = constraint.For(ConstraintReader.Tokenizer);
            automaton.MaskOf(automaton.Start);
            return new WeakReference(automaton.Start.Owner);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void ReadAll(KimiConstraint constraint) =>
            Assert.That(new ConstraintReader(constraint).AcceptsBytes(string.Concat(Enumerable.Repeat("abca,", 400))), Is.True);
    }

    [Test]
    public void Tables_that_grow_too_large_are_begun_anew()
    {
        // More masks than are kept.
        KimiConstraint constraint = KimiConstraint.Regex("([a-c]{4},){400}");
        ConstraintReader reader = new(constraint);
        string text = string.Concat(Enumerable.Repeat("abca,", 400));
        Assert.That(reader.AcceptsBytes(text), Is.True);
        Assert.That(constraint.Bytes, Is.LessThan(900_000), "all states together take 1,080,000");
        Assert.That(reader.AcceptsBytes(text[..^1]), Is.False);
        Assert.That(reader.AcceptsBytes(text), Is.True);
    }
}
