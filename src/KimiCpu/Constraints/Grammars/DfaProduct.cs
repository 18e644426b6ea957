// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;

namespace KimiCpu.Constraints.Grammars;

/// <summary>
/// Automata that read the same text side by side. The first one decides which texts there are; of the others it is known at
/// the end which ones accept. None of them calls rules. There are at most 64.
/// </summary>
internal sealed class DfaProduct
{
    /// <summary>For each step of one of the automata, with the set of states that it becomes a part of.</summary>
    private const int WorkOfPart = 8;

    /// <summary>An edge with its set of bytes.</summary>
    private const int CellsOfEdge = 18;

    /// <summary>Bits of a label.</summary>
    private const int MaxParts = 64;

    private readonly List<(int From, Expr? Via, int To)> _edges = [];
    private readonly List<int[]> _states = [];
    private readonly Dfa[] _parts;

    public DfaProduct(Dfa[] parts, CompileBudget budget)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(parts.Length, MaxParts);
        _parts = parts;
        var partition = new BytePartition();
        Array.ForEach(parts, p => partition.Refine(value => p.ClassOf[value]));
        var bytes = new ByteSet[partition.Count];
        for (int value = 0; value < 256; value++)
        {
            bytes[partition.ClassOf[value]] |= ByteSet.Of((byte)value);
        }

        var numbers = new Dictionary<int[], int>(IntArrayComparer.Instance) { [new int[parts.Length]] = 0 };
        _states.Add(new int[parts.Length]);
        for (int state = 0; state < _states.Count; state++)
        {
            var sets = new SortedDictionary<int, ByteSet>();
            for (int c = 0; c < bytes.Length; c++)
            {
                byte value = (byte)Array.IndexOf(partition.ClassOf, (byte)c);
                int[] next = [.. _states[state].Select((s, i) => s == Dfa.Dead ? s : parts[i].Step(s, value))];
                if (next[0] == Dfa.Dead)
                {
                    continue;
                }

                if (!numbers.TryGetValue(next, out int number))
                {
                    budget.CountState();
                    number = _states.Count;
                    numbers.Add(next, number);
                    _states.Add(next);
                }

                sets[number] = sets.GetValueOrDefault(number) | bytes[c];
            }

            budget.CountCells((CellsOfEdge * sets.Count) + parts.Length);
            budget.Spend((long)bytes.Length * parts.Length * WorkOfPart);
            _edges.AddRange(sets.Select(s => (state, (Expr?)Expr.Bytes(s.Value), s.Key)));
        }

        Labels = [.. Enumerable.Range(0, _states.Count).Select(LabelOf).Where(l => (l & 1) != 0).Distinct().Order()];
    }

    /// <summary>Which sets of automata accept some text together with the first one; a bit each, of the first one bit 0.</summary>
    public IReadOnlyList<ulong> Labels { get; }

    /// <summary>The texts with a label.</summary>
    public Expr Where(Func<ulong, bool> label) => new GraphExpr(_states.Count, _edges, [.. Enumerable.Range(0, _states.Count).Where(s => (LabelOf(s) & 1) != 0 && label(LabelOf(s)))]);

    /// <summary>The texts that all automata accept.</summary>
    public static Expr Intersection(Dfa[] parts, CompileBudget budget) => new DfaProduct(parts, budget).Where(l => BitOperations.PopCount(l) == parts.Length);

    private ulong LabelOf(int state)
    {
        ulong label = 0;
        for (int i = 0; i < _parts.Length; i++)
        {
            int part = _states[state][i];
            label |= part != Dfa.Dead && _parts[i].Accepts[part] ? 1UL << i : 0;
        }

        return label;
    }
}
