// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Text;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Masks;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Constraints;

/// <summary>Reads and makes texts under a constraint, with the tokens of kimi-nano.</summary>
internal sealed class ConstraintReader
{
    public static readonly KimiTokenizer Tokenizer = KimiTokenizer.Open(Repository.NanoModel);

    private static readonly int[] s_ordinary = [.. Enumerable.Range(0, Tokenizer.VocabularySize).Where(t => !Tokenizer.IsSpecial(t))];

    private static readonly SearchValues<byte> s_structural = SearchValues.Create("\"\\{}[],:0123456789.-eE"u8);

    private readonly TokenAutomaton _automaton;

    public ConstraintReader(KimiConstraint constraint) => _automaton = constraint.For(Tokenizer);

    public static ConstraintReader OfSchema(string schema) => new(KimiConstraint.JsonSchema(schema));

    /// <summary>Whether a text is allowed, by its tokens, each of them under the mask.</summary>
    public bool Accepts(string text) => Accepts(Tokenizer.Encode(text));

    /// <summary>Whether bytes are allowed, each of them as a token of its own.</summary>
    public bool AcceptsBytes(string text) => Accepts([.. Encoding.UTF8.GetBytes(text).Select(b => Tokenizer.Encode([b]).Single())]);

    public bool Accepts(IEnumerable<int> tokens)
    {
        AutomatonState state = _automaton.Start;
        foreach (int token in tokens)
        {
            bool allowed = _automaton.MaskOf(state).Contains(token);
            AutomatonState next = _automaton.Read(state, Tokenizer.GetBytes(token));
            Assert.That(allowed, Is.EqualTo(!next.IsDead), "mask and automaton agree");
            if (!allowed)
            {
                return false;
            }

            state = next;
        }

        return state.Accepts;
    }

    /// <summary>A text of random allowed tokens; ends where it may with some probability, and else when nothing can follow.</summary>
    /// <param name="random">Chooses.</param>
    /// <param name="end">Probability to end where that is allowed.</param>
    /// <param name="maxTokens">From there on single bytes are preferred that close strings, arrays and objects.</param>
    /// <param name="visit">Sees every state and its mask.</param>
    public string Sample(Random random, double end = 0.3, int maxTokens = 150, Action<AutomatonState, TokenMask>? visit = null)
    {
        AutomatonState state = _automaton.Start;
        var bytes = new List<byte>();
        for (int count = 0; ; count++)
        {
            TokenMask mask = _automaton.MaskOf(state);
            visit?.Invoke(state, mask);
            if (state.Accepts && (mask.Count == 0 || random.NextDouble() < end))
            {
                return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString([.. bytes]);
            }

            Assert.That(mask.Count, Is.Positive, $"a dead end after {Encoding.UTF8.GetString([.. bytes])}");
            Assert.That(count, Is.LessThan(20_000), "it ends");
            int token = Choose(mask, random, hurry: count > maxTokens);
            bytes.AddRange(Tokenizer.GetBytes(token));
            state = _automaton.Read(state, Tokenizer.GetBytes(token));
            Assert.That(state.IsDead, Is.False);
        }
    }

    /// <summary>The mask of a state, token by token.</summary>
    public bool[] BruteForce(AutomatonState state)
    {
        var allowed = new bool[Tokenizer.VocabularySize];
        foreach (int token in s_ordinary)
        {
            allowed[token] = !_automaton.Read(state, Tokenizer.GetBytes(token)).IsDead;
        }

        return allowed;
    }

    /// <summary>Mostly any token; often a short or closing one, so that structure gets its share beside text.</summary>
    private static int Choose(TokenMask mask, Random random, bool hurry)
    {
        int[] allowed = [.. s_ordinary.Where(mask.Contains)];
        if (hurry || random.Next(3) == 0)
        {
            int[] closing = [.. allowed.Where(t => Tokenizer.GetBytes(t) is [(byte)'"' or (byte)']' or (byte)'}' or (byte)'0'] or [>= (byte)'a' and <= (byte)'d'])];
            if (closing.Length > 0)
            {
                return closing[random.Next(closing.Length)];
            }
        }

        if (random.Next(3) == 0)
        {
            int[] structural = [.. allowed.Where(t => Tokenizer.GetBytes(t).IndexOfAny(s_structural) >= 0)];
            if (structural.Length > 0)
            {
                return structural[random.Next(structural.Length)];
            }
        }

        return allowed[random.Next(allowed.Length)];
    }
}
