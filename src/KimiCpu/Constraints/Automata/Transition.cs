// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Automata;

/// <summary>What leads on from a state by all bytes that its readings take alike.</summary>
/// <param name="target">See <see cref="Target"/>.</param>
/// <param name="work">See <see cref="Work"/>.</param>
/// <param name="value">See <see cref="Value"/>.</param>
/// <param name="hash">See <see cref="Hash"/>.</param>
/// <param name="other">See <see cref="Other"/>.</param>
internal sealed class Transition(AutomatonState target, int work, byte value, int hash, Transition? other)
{
    /// <summary>The state behind.</summary>
    public AutomatonState Target => target;

    /// <summary>Readings that were followed to find the state: those that it has, or more where many came to an end or to the same.</summary>
    public int Work => work;

    /// <summary>One of the bytes.</summary>
    public byte Value => value;

    /// <summary>Of where the byte leads each kind of reading; bytes that are alike have the same.</summary>
    public int Hash => hash;

    /// <summary>Of the same state, found before; null for the first one.</summary>
    public Transition? Other => other;

    /// <summary>The latest walk over tokens that took it.</summary>
    public int Walk { get; set; }
}
