// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>
/// A deterministic automaton over bytes, with calls of rules beside them. State 0 is the start. Bytes that are never told
/// apart share a class.
/// </summary>
internal sealed class Dfa
{
    public const int Dead = -1;

    /// <summary>Class of each byte.</summary>
    public required byte[] ClassOf { get; init; }

    public required int ClassCount { get; init; }

    /// <summary>[state * ClassCount + class]; <see cref="Dead"/> where there is none.</summary>
    public required int[] Next { get; init; }

    /// <summary>[state].</summary>
    public required bool[] Accepts { get; init; }

    /// <summary>[state]: rules that may begin there, each with the state behind it; null for none.</summary>
    public required (int Rule, int Target)[]?[] Calls { get; init; }

    public int StateCount => Accepts.Length;

    public int Step(int state, byte value) => Next[(state * ClassCount) + ClassOf[value]];

    public bool Matches(ReadOnlySpan<byte> text)
    {
        int state = 0;
        foreach (byte value in text)
        {
            state = Step(state, value);
            if (state == Dead)
            {
                return false;
            }
        }

        return Accepts[state];
    }
}
