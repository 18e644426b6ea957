// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Masks;

namespace KimiCpu.Constraints.Automata;

/// <summary>All readings of a text so far: where each can read its next byte, and whether one ends here. Holds what was found about it.</summary>
/// <param name="frames">See <see cref="Frames"/>.</param>
/// <param name="accepts">See <see cref="Accepts"/>.</param>
/// <param name="next">See <see cref="Next"/>; shared by all states that read nothing.</param>
/// <param name="owner">See <see cref="Owner"/>.</param>
internal sealed class AutomatonState(StackFrame[] frames, bool accepts, Transition?[] next, object owner)
{
    /// <summary>States that can read a byte, by rising number.</summary>
    public StackFrame[] Frames => frames;

    /// <summary>Whether the text may end here.</summary>
    public bool Accepts => accepts;

    /// <summary>Whether no text begins so.</summary>
    public bool IsDead => frames.Length == 0 && !accepts;

    /// <summary>[class of byte]; null where not looked yet.</summary>
    public Transition?[] Next => next;

    /// <summary>The latest of those that lead on from here, each of which knows the one before; null until there is one.</summary>
    public Transition? Transitions { get; set; }

    /// <summary>See <see cref="Automaton.KindsOf(AutomatonState)"/>; null until asked for.</summary>
    public StackFrame[]? Kinds { get; set; }

    /// <summary>See <see cref="ByteLoops"/>; null until asked for.</summary>
    public ulong? Loops { get; set; }

    /// <summary>A state with the same mask; see <see cref="Automaton.Canonical(AutomatonState, int)"/>. Null until asked for.</summary>
    public AutomatonState? Canonical { get; set; }

    /// <summary>The latest walk over tokens that came here.</summary>
    public int Walk { get; set; }

    /// <summary>The allowed tokens, once asked for.</summary>
    public TokenMask? Mask { get; set; }

    /// <summary>The tables that it is part of.</summary>
    public object Owner => owner;
}
