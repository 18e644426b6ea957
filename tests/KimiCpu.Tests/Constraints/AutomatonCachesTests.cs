// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints;
using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Masks;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Constraints;

/// <summary>A call holds an automaton for each of its tools, and what they find out is bounded for all of them.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class AutomatonCachesTests
{
    private const int MaxBytes = 1_000_000;

    /// <summary>Each of its readers takes 900,000 bytes.</summary>
    private static readonly KimiConstraint s_large = KimiConstraint.Regex("([a-c]{4},){400}");

    private static readonly byte[] s_text = "abca,"u8.ToArray();

    [Test, CancelAfter(60_000)]
    public void All_together_take_what_they_may_and_the_oldest_begins_anew()
    {
        var caches = new AutomatonCaches(MaxBytes);
        TokenAutomaton[] automata = [.. Enumerable.Range(0, 5).Select(_ => new TokenAutomaton(s_large.Grammar, ConstraintReader.Tokenizer, caches))];
        var states = new AutomatonState[automata.Length];
        for (int i = 0; i < automata.Length; i++)
        {
            states[i] = Read(automata[i], automata[i].Start, 150);
            Assert.That(automata[i].CachedBytes, Is.GreaterThan(MaxBytes / 4), "else it is nothing");
            Assert.That(caches.Bytes, Is.EqualTo(automata.Sum(a => a.CachedBytes)).And.LessThan(MaxBytes * 11 / 10));
        }

        Assert.That(automata[0].CachedBytes, Is.LessThan(10_000));
        for (int i = 0; i < automata.Length; i++)
        {
            AutomatonState end = Read(automata[i], states[i], 250);
            Assert.That((end.Accepts, automata[i].Read(end, "a"u8).IsDead), Is.EqualTo((true, true)), "states from before stay valid");
            Assert.That(automata[i].MaskOf(states[i]).Count, Is.EqualTo(automata[0].MaskOf(states[0]).Count).And.Positive);
        }

        Assert.That(caches.Bytes, Is.LessThan(MaxBytes * 11 / 10));
    }

    [Test]
    public void Those_of_one_tokenizer_are_counted_together()
    {
        KimiTokenizer tokenizer = KimiTokenizer.Open(Repository.NanoModel);
        TokenAutomaton[] automata = [s_large.For(tokenizer), KimiConstraint.Json().For(tokenizer)];
        Read(automata[0], automata[0].Start, 3);
        automata[1].MaskOf(automata[1].Start);
        Assert.That(TokenIndex.Of(tokenizer).Caches.Bytes, Is.EqualTo(automata.Sum(a => a.CachedBytes)).And.Positive);
        Assert.That(TokenIndex.Of(ConstraintReader.Tokenizer).Caches, Is.Not.SameAs(TokenIndex.Of(tokenizer).Caches));
    }

    /// <summary>Locks of two automata are never held at once, so that threads that make room wait for nobody.</summary>
    [Test, CancelAfter(120_000)]
    public async Task Threads_that_make_room_for_each_other_read_the_same()
    {
        var caches = new AutomatonCaches(MaxBytes);
        TokenAutomaton[] automata = [.. Enumerable.Range(0, 4).Select(_ => new TokenAutomaton(s_large.Grammar, ConstraintReader.Tokenizer, caches))];
        bool[] accepted = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => Task.Factory.StartNew(
            () => Read(automata[i % automata.Length], automata[i % automata.Length].Start, 400).Accepts,
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default)));
        Assert.That(accepted, Is.All.True);
    }

    /// <summary>Byte by byte, with all masks.</summary>
    private static AutomatonState Read(TokenAutomaton automaton, AutomatonState state, int times)
    {
        foreach (byte value in Enumerable.Repeat(s_text, times).SelectMany(t => t))
        {
            _ = automaton.MaskOf(state);
            state = automaton.Read(state, [value]);
        }

        return state;
    }
}
