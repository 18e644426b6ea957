// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.Automata;

/// <summary>
/// Reads texts of a grammar byte by byte. A state is the set of all stacks of rules that the text can stand for; states are
/// made when they are first reached, and found again by their stacks. Every stack in a state can be completed, so every
/// state that is not dead can. Not safe to use from several threads at once.
/// </summary>
internal sealed class Automaton
{
    /// <summary>
    /// Readings that differ in how many characters a repetition of a pattern has come to: they multiply with the bounds, which no schema
    /// of use needs. A text with more of these, or more than <see cref="Grammar.MaxReadings"/> at all, keeps the first ones, and still only sound ones.
    /// </summary>
    private const int MaxCounted = 4096;

    /// <summary>A step or a mask may go beyond it.</summary>
    private const long MaxCachedBytes = 64_000_000;

    /// <summary>Of a frame or state with its places in the tables, without its lists.</summary>
    private const int EntryBytes = 160;

    private const int TransitionBytes = 48;

    /// <summary>To look for equal kinds among fewer frames would take longer than they do.</summary>
    private const int ManyFrames = 32;

    /// <summary>Frames that are asked for to follow one reading, in ordinary grammars at most; see <see cref="Transition.Work"/>.</summary>
    private const int FramesOfReading = 4;

    private readonly Grammar _grammar;
    private readonly HashSet<StackFrame> _visited = [];
    private readonly List<StackFrame> _active = [];
    private readonly List<StackFrame> _open = [];
    private Tables _tables;
    private int _counted;
    private int _asked;
    private int _walk;
    private bool _accepts;

    public Automaton(Grammar grammar)
    {
        _grammar = grammar;
        _tables = new Tables(grammar.ClassCount);
    }

    /// <summary>Class of each byte, for <see cref="AutomatonState.Next"/>.</summary>
    public ReadOnlySpan<byte> ClassOf => _grammar.ClassOf;

    /// <summary>The state of the current tables from where nothing can be read.</summary>
    public AutomatonState Dead => _tables.Dead;

    /// <summary>What the tables hold, roughly.</summary>
    public long CachedBytes => _tables.Bytes;

    /// <summary>Before the first byte.</summary>
    public AutomatonState Start
    {
        get
        {
            Begin();
            Follow(_grammar.Root, 0, null);
            return Finish();
        }
    }

    /// <summary>Makes room in the tables if they are full. States from before stay valid for <see cref="Adopt(AutomatonState)"/>.</summary>
    /// <param name="force">Whether to forget in any case.</param>
    /// <returns>Whether the tables were begun anew.</returns>
    public bool Trim(bool force)
    {
        if (!force && _tables.Bytes <= MaxCachedBytes)
        {
            return false;
        }

        _tables = new Tables(_grammar.ClassCount);
        return true;
    }

    /// <summary>The state of the current tables that means the same.</summary>
    public AutomatonState Adopt(AutomatonState state)
    {
        if (state.Owner == _tables)
        {
            return state;
        }

        Begin();
        _accepts = state.Accepts;
        foreach (StackFrame frame in state.Frames)
        {
            _active.Add(Adopt(frame)!);
        }

        return Finish();
    }

    /// <summary>The state behind one more byte; dead where no text goes on so.</summary>
    /// <param name="state">Of the current tables.</param>
    /// <param name="value">The byte.</param>
    public AutomatonState Step(AutomatonState state, byte value) => Take(state, value).Target;

    /// <inheritdoc cref="Step(AutomatonState, byte)"/>
    public Transition Take(AutomatonState state, byte value) => state.Next[_grammar.ClassOf[value]] ??= Find(state, value);

    /// <summary>Whether a byte can be read, which takes less than finding the state behind it: a reading that goes on within its rule, and is not nested too deep, can be completed.</summary>
    /// <param name="state">Of any tables.</param>
    /// <param name="value">The byte.</param>
    public static bool Reads(AutomatonState state, byte value) =>
        Array.Exists(state.Frames, f => Behind(f, value) is >= 0 and int next && IsInReach(f.Rule, (uint)next, f.Parent));

    /// <summary>
    /// A state from which the next bytes lead on in the same way: where a repetition is so far from its bounds that these bytes
    /// cannot reach them, how many there were makes no difference.
    /// </summary>
    /// <param name="state">Of the current tables.</param>
    /// <param name="bytes">How many bytes are looked at.</param>
    public AutomatonState Canonical(AutomatonState state, int bytes)
    {
        if (state.Canonical is null)
        {
            Begin();
            _accepts = state.Accepts;
            foreach (StackFrame frame in state.Frames)
            {
                StackFrame canonical = Canonical(frame, bytes);
                if (_visited.Add(canonical))
                {
                    _active.Add(canonical);
                }
            }

            state.Canonical = Finish();
        }

        return state.Canonical;
    }

    public AutomatonState Read(AutomatonState state, ReadOnlySpan<byte> text)
    {
        foreach (byte value in text)
        {
            state = Step(state, value);
        }

        return state;
    }

    /// <summary>The bytes that lead from a state of the current tables back to it; see <see cref="ByteLoops"/>.</summary>
    public ulong LoopsOf(AutomatonState state)
    {
        if (state.Loops is not { } loops)
        {
            loops = 0;
            foreach (byte value in ByteLoops.Bytes)
            {
                loops |= Step(state, value) == state ? ByteLoops.BitOf(value) : 0;
            }

            state.Loops = loops;
        }

        return loops;
    }

    /// <summary>Of a state's frames that differ in nothing but what to go on with when they are left, one: bytes that do the same to these do the same to all.</summary>
    /// <param name="state">Of the current tables.</param>
    public StackFrame[] KindsOf(AutomatonState state)
    {
        if (state.Kinds is null)
        {
            state.Kinds = state.Frames;
            if (state.Frames.Length >= ManyFrames)
            {
                state.Kinds = [.. state.Frames.DistinctBy(f => (f.RuleIndex, f.State))];
                _tables.Bytes += state.Kinds.Length * IntPtr.Size;
            }
        }

        return state.Kinds;
    }

    /// <summary>A number for a walk, which tells the states that it has come to; see <see cref="AutomatonState.Walk"/>.</summary>
    public int BeginWalk() => ++_walk;

    private static bool IsCounted(StackFrame frame) => frame.Parent?.Rule is CounterRule;

    /// <summary>State of a reading's rule behind a byte; <see cref="Dfa.Dead"/> where there is none.</summary>
    private static int Behind(StackFrame frame, byte value) => ((DfaRule)frame.Rule).Dfa.Step((int)frame.State, value);

    private static bool AreAlike(StackFrame[] frames, byte value, byte other)
    {
        foreach (StackFrame frame in frames)
        {
            if (Behind(frame, value) != Behind(frame, other))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether the end of a rule in a state is not nested too deep.</summary>
    private static bool IsInReach(Rule rule, UInt128 state, StackFrame? parent) => (parent?.Depth ?? 0) + rule.Weight + rule.Height(state) <= Grammar.MaxNesting;

    /// <summary>
    /// Bytes that are told apart elsewhere, as by the names of an object, mostly do the same to all readings of a state, which may be
    /// thousands: to see that takes little beside following them.
    /// </summary>
    private Transition Find(AutomatonState state, byte value)
    {
        StackFrame[] kinds = KindsOf(state);
        var hash = default(HashCode);
        bool any = false;
        foreach (StackFrame frame in kinds)
        {
            int next = Behind(frame, value);
            any |= next != Dfa.Dead;
            hash.Add(next);
        }

        if (!any)
        {
            return _tables.Nowhere;
        }

        int code = hash.ToHashCode();
        for (Transition? known = state.Transitions; known is not null; known = known.Other)
        {
            if (known.Hash == code && AreAlike(kinds, value, known.Value))
            {
                return known;
            }
        }

        AutomatonState target = Compute(state, value);
        _tables.Bytes += TransitionBytes;
        return state.Transitions = new Transition(target, Math.Max(target.Frames.Length, _asked / FramesOfReading), value, code, state.Transitions);
    }

    private AutomatonState Compute(AutomatonState state, byte value)
    {
        Begin();
        foreach (StackFrame frame in state.Frames)
        {
            int next = Behind(frame, value);
            if (next != Dfa.Dead)
            {
                Follow(frame.RuleIndex, (uint)next, frame.Parent);
            }
        }

        return Finish();
    }

    private void Begin()
    {
        _visited.Clear();
        _active.Clear();
        _counted = 0;
        _asked = 0;
        _accepts = false;
    }

    private AutomatonState Finish()
    {
        if (_active.Count == 0 && !_accepts)
        {
            return _tables.Dead;
        }

        StackFrame[] frames = [.. _active];
        var key = new int[frames.Length + 1];
        key[^1] = _accepts ? 1 : 0;
        for (int i = 0; i < frames.Length; i++)
        {
            key[i] = frames[i].Number;
        }

        Array.Sort(key, frames, 0, frames.Length);
        if (!_tables.States.TryGetValue(key, out AutomatonState? state))
        {
            state = new AutomatonState(frames, _accepts, frames.Length == 0 ? _tables.Dead.Next : new Transition?[_grammar.ClassCount], _tables);
            _tables.States.Add(key, state);
            _tables.Bytes += EntryBytes + (frames.Length * (IntPtr.Size + sizeof(int))) + (state.Next.Length * IntPtr.Size);
        }

        return state;
    }

    /// <summary>
    /// Finds all that can be read next behind a state of a rule. A pattern can make any number of parts follow each other that may be
    /// empty, so they are no calls of methods within each other.
    /// </summary>
    private void Follow(int rule, UInt128 state, StackFrame? parent)
    {
        Enter(rule, state, parent);
        while (_open.Count > 0)
        {
            StackFrame frame = _open[^1];
            _open.RemoveAt(_open.Count - 1);
            int before = _open.Count;
            Visit(frame);

            // What is found first is followed first, with all that it leads to, and so it is the first ones that are kept.
            _open.Reverse(before, _open.Count - before);
        }
    }

    /// <summary>Opens a state of a rule, unless its end would be nested too deep or is out of reach.</summary>
    private void Enter(int rule, UInt128 state, StackFrame? parent)
    {
        if (Frame(rule, state, parent) is { } frame)
        {
            _open.Add(frame);
        }
    }

    private void Visit(StackFrame frame)
    {
        if (_active.Count >= Grammar.MaxReadings || (IsCounted(frame) && _counted >= MaxCounted) || !_visited.Add(frame))
        {
            return;
        }

        switch (frame.Rule)
        {
            case DfaRule rule:
                VisitDfa(frame, rule);
                break;
            case CounterRule rule:
                VisitCounter(frame, rule);
                break;
            case MembersRule rule:
                VisitMembers(frame, rule);
                break;
        }
    }

    private void VisitDfa(StackFrame frame, DfaRule rule)
    {
        int state = (int)frame.State;
        if (rule.Reads[state])
        {
            _active.Add(frame);
            _counted += IsCounted(frame) ? 1 : 0;
        }

        foreach ((int called, int target) in rule.Dfa.Calls[state] ?? [])
        {
            if (rule.OnlyAccepts(target))
            {
                // Nothing is left to do in this rule: without its frame, what ends alike is alike.
                Enter(called, 0, frame.Parent);
            }
            else if (Frame(frame.RuleIndex, (uint)target, frame.Parent) is { } back)
            {
                Enter(called, 0, back);
            }
        }

        if (rule.Dfa.Accepts[state])
        {
            Leave(frame);
        }
    }

    private void VisitCounter(StackFrame frame, CounterRule rule)
    {
        int count = (int)frame.State;
        if (count < rule.Max)
        {
            int after = rule.After(count);
            StackFrame? back = after == rule.Max ? frame.Parent : Frame(frame.RuleIndex, (uint)after, frame.Parent);
            if (after == rule.Max || back is not null)
            {
                Enter(rule.ItemIndex, 0, back);
            }
        }

        if (count >= rule.Min)
        {
            Leave(frame);
        }
    }

    private void VisitMembers(StackFrame frame, MembersRule rule)
    {
        bool first = frame.State == 0;
        UInt128 leading = rule.Leading & ~frame.State;
        UInt128 named = leading == 0 ? ~frame.State : leading & (~leading + 1);
        for (int i = 0; i < rule.Named.Count; i++)
        {
            UInt128 bit = UInt128.One << i;
            if ((named & bit) != 0 && Frame(frame.RuleIndex, frame.State | bit | MembersRule.Any, frame.Parent) is { } back)
            {
                Enter(first ? rule.Named[i].FirstIndex : rule.Named[i].LaterIndex, 0, back);
            }
        }

        for (int i = 0; i < rule.Others.Count && leading == 0; i++)
        {
            if (Frame(frame.RuleIndex, frame.State | MembersRule.Any, frame.Parent) is { } back)
            {
                Enter(first ? rule.Others[i].FirstIndex : rule.Others[i].LaterIndex, 0, back);
            }
        }

        if ((frame.State & rule.Required) == rule.Required)
        {
            Leave(frame);
        }
    }

    private void Leave(StackFrame frame)
    {
        if (frame.Parent is null)
        {
            _accepts = true;
        }
        else
        {
            _open.Add(frame.Parent);
        }
    }

    private StackFrame? Frame(int ruleIndex, UInt128 state, StackFrame? parent)
    {
        _asked++;
        Rule rule = _grammar.Rules[ruleIndex];
        return IsInReach(rule, state, parent) ? Intern(ruleIndex, rule, state, parent) : null;
    }

    private StackFrame Intern(int ruleIndex, Rule rule, UInt128 state, StackFrame? parent)
    {
        if (!_tables.Frames.TryGetValue((ruleIndex, state, parent?.Number ?? -1), out StackFrame? frame))
        {
            frame = new StackFrame(ruleIndex, rule, state, parent, _tables.Frames.Count);
            _tables.Frames.Add((ruleIndex, state, parent?.Number ?? -1), frame);
            _tables.Bytes += EntryBytes;
        }

        return frame;
    }

    private StackFrame Canonical(StackFrame frame, int bytes)
    {
        StackFrame? parent = frame.Parent is null ? null : Canonical(frame.Parent, bytes);
        UInt128 state = frame.Rule is CounterRule counter ? (uint)counter.Canonical((int)frame.State, bytes) : frame.State;
        return parent == frame.Parent && state == frame.State ? frame : Intern(frame.RuleIndex, frame.Rule, state, parent);
    }

    private StackFrame? Adopt(StackFrame? frame) => frame is null ? null : Intern(frame.RuleIndex, frame.Rule, frame.State, Adopt(frame.Parent));

    /// <summary>What was found so far. Replaced as a whole when it grows too large.</summary>
    private sealed class Tables
    {
        public Tables(int classCount)
        {
            var next = new Transition?[classCount];
            Dead = new AutomatonState([], false, next, this);
            Nowhere = new Transition(Dead, 0, 0, 0, null);
            next.AsSpan().Fill(Nowhere);
        }

        public Dictionary<(int Rule, UInt128 State, int Parent), StackFrame> Frames { get; } = [];

        public Dictionary<int[], AutomatonState> States { get; } = new(IntArrayComparer.Instance);

        public AutomatonState Dead { get; }

        /// <summary>Of all states, by the bytes that no reading takes.</summary>
        public Transition Nowhere { get; }

        public long Bytes { get; set; }
    }
}
