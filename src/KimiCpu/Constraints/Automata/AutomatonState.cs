// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Masks;

namespace KimiCpu.Constraints.Automata;

/// <summary>All readings of a text so far: where each can read its next byte, and whether one ends here. Holds what was found about it.</summary>
internal sealed class AutomatonState(StackFrame[] frames, bool accepts, int classCount, object owner)
{
    /// <summary>States that can read a byte, by rising number.</summary>
    public StackFrame[] Frames => frames;

    /// <summary>Whether the text may end here.</summary>
    public bool Accepts => accepts;

    /// <summary>Whether no text begins so.</summary>
    public bool IsDead => frames.Length == 0 && !accepts;

    /// <summary>[class of byte]; null where not looked yet.</summary>
    public AutomatonState?[] Next { get; } = new AutomatonState?[frames.Length == 0 ? 0 : classCount];

    /// <summary>The allowed tokens, once asked for.</summary>
    public TokenMask? Mask { get; set; }

    /// <summary>The tables that it is part of.</summary>
    public object Owner => owner;
}
