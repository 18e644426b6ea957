// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Tokens;

namespace KimiCpu.Constraints.Masks;

/// <summary>
/// A grammar read token by token with one tokenizer. Masks are made when a state is first asked for one, and kept with the
/// state. Safe to use from several threads; states are shared by all readers and may be kept by any number of them.
/// </summary>
internal sealed class TokenAutomaton
{
    /// <summary>20 MB for a vocabulary of 160,000.</summary>
    private const int MaxCachedMasks = 1024;

    private readonly object _gate = new();
    private readonly TokenIndex _tokens;
    private readonly Automaton _automaton;
    private volatile AutomatonState _start;
    private int _masks;
    private long _cachedBytes;

    public TokenAutomaton(Grammar grammar, KimiTokenizer tokenizer)
    {
        _tokens = TokenIndex.Of(tokenizer);
        _automaton = new Automaton(grammar);
        _start = _automaton.Start;
    }

    /// <summary>Before the first token. Another state, which means the same, each time that the tables are begun anew.</summary>
    public AutomatonState Start => _start;

    /// <summary>The most that finding one mask took; see <see cref="TokenTrie.MaxWork"/>.</summary>
    public long LargestWork { get; private set; }

    /// <summary>What is kept of states and masks, roughly.</summary>
    public long CachedBytes => Volatile.Read(ref _cachedBytes);

    /// <summary>The state behind some bytes; dead where no text goes on so.</summary>
    public AutomatonState Read(AutomatonState state, ReadOnlySpan<byte> text)
    {
        lock (_gate)
        {
            Trim(force: false);
            AutomatonState next = _automaton.Read(_automaton.Adopt(state), text);
            Measure();
            return next;
        }
    }

    /// <summary>The tokens that can come next. Empty only where the text must end.</summary>
    public TokenMask MaskOf(AutomatonState state)
    {
        // Set once; a mask is complete before it is seen.
        if (state.Mask is { } known)
        {
            return known;
        }

        lock (_gate)
        {
            Trim(force: _masks >= MaxCachedMasks);
            AutomatonState current = _automaton.Canonical(_automaton.Adopt(state), _tokens.All.Depth);
            if (current.Mask is null)
            {
                current.Mask = Make(current);
                _masks++;
                Measure();
            }

            return state.Mask = current.Mask;
        }
    }

    private void Trim(bool force)
    {
        if (_automaton.Trim(force))
        {
            // The old one would keep its tables, which nobody counts any more.
            _start = _automaton.Start;
            _masks = 0;
        }
    }

    private void Measure() => Volatile.Write(ref _cachedBytes, _automaton.CachedBytes + ((long)_masks * _tokens.WordCount * sizeof(ulong)));

    /// <summary>
    /// Rows of plain characters that some reading takes whatever they are need no look, and those longer than any reading
    /// takes need none either. The others are walked.
    /// </summary>
    private TokenMask Make(AutomatonState state)
    {
        int shortest = 0;
        int longest = 0;
        foreach (StackFrame frame in state.Frames)
        {
            shortest = Math.Max(shortest, frame.Shortest);
            longest = Math.Max(longest, frame.Longest);
        }

        int last = _tokens.PlainUpTo.Count - 1;
        var words = new ulong[_tokens.WordCount];
        _tokens.PlainUpTo[Math.Min(shortest, last)].CopyTo(words, 0);
        TokenTrie rest = shortest >= Math.Min(longest, last) ? _tokens.NotPlain : _tokens.All;
        LargestWork = Math.Max(LargestWork, rest.Walk(_automaton, state, words));
        return new TokenMask(words);
    }
}
