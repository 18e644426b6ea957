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
    private readonly AutomatonCaches _caches;
    private readonly Automaton _automaton;
    private volatile AutomatonState _start;
    private int _masks;
    private long _cachedBytes;
    private long _lastUse;

    /// <param name="grammar">What may be read.</param>
    /// <param name="tokenizer">Whose tokens are read.</param>
    /// <param name="caches">Bounds what it finds out, together with others; null for that of all automata of the tokenizer.</param>
    public TokenAutomaton(Grammar grammar, KimiTokenizer tokenizer, AutomatonCaches? caches = null)
    {
        _tokens = TokenIndex.Of(tokenizer);
        _caches = caches ?? _tokens.Caches;
        _automaton = new Automaton(grammar);
        _start = _automaton.Start;
        _lastUse = _caches.NextUse();
        Measure();
        _caches.Add(this);
    }

    /// <summary>Before the first token. Another state, which means the same, each time that the tables are begun anew.</summary>
    public AutomatonState Start => _start;

    /// <summary>The most that finding one mask took; see <see cref="TokenTrie.MaxWork"/>.</summary>
    public long LargestWork { get; private set; }

    /// <summary>What is kept of states and masks, roughly.</summary>
    public long CachedBytes => Volatile.Read(ref _cachedBytes);

    /// <summary>See <see cref="AutomatonCaches.NextUse"/>.</summary>
    public long LastUse => Volatile.Read(ref _lastUse);

    /// <summary>The state behind some bytes; dead where no text goes on so.</summary>
    public AutomatonState Read(AutomatonState state, ReadOnlySpan<byte> text)
    {
        AutomatonState next;
        long grown;
        lock (_gate)
        {
            Volatile.Write(ref _lastUse, _caches.NextUse());
            Trim(force: false);
            next = _automaton.Read(_automaton.Adopt(state), text);
            grown = Measure();
        }

        _caches.Grow(grown);
        return next;
    }

    /// <summary>The tokens that can come next. Empty only where the text must end.</summary>
    public TokenMask MaskOf(AutomatonState state)
    {
        // Set once; a mask is complete before it is seen.
        if (state.Mask is { } known)
        {
            return known;
        }

        TokenMask mask;
        long grown;
        lock (_gate)
        {
            Volatile.Write(ref _lastUse, _caches.NextUse());
            Trim(force: _masks >= MaxCachedMasks);
            AutomatonState current = _automaton.Canonical(_automaton.Adopt(state), _tokens.All.Depth);
            if (current.Mask is null)
            {
                current.Mask = Make(current);
                _masks++;
            }

            mask = state.Mask = current.Mask;
            grown = Measure();
        }

        _caches.Grow(grown);
        return mask;
    }

    /// <summary>Begins the tables anew, unless somebody is at work with them. States from before stay valid.</summary>
    /// <returns>Whether it did.</returns>
    public bool TryForget()
    {
        if (!Monitor.TryEnter(_gate))
        {
            return false;
        }

        try
        {
            Trim(force: true);
            Measure();
            return true;
        }
        finally
        {
            Monitor.Exit(_gate);
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

    /// <returns>What was added since the last time; negative where the tables were begun anew.</returns>
    private long Measure()
    {
        long before = _cachedBytes;
        Volatile.Write(ref _cachedBytes, _automaton.CachedBytes + ((long)_masks * _tokens.WordCount * sizeof(ulong)));
        return _cachedBytes - before;
    }

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
