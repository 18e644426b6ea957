// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>The subset construction.</summary>
internal sealed class DfaBuilder
{
    /// <summary>For each state of a set that is sorted, hashed and kept.</summary>
    private const int WorkOfSorting = 8;

    /// <summary>For each rule that a state calls, with its list of states behind the call.</summary>
    private const int WorkOfCall = 32;

    /// <summary>A rule and a state.</summary>
    private const int CellsOfCall = 2;

    private readonly Nfa _nfa;
    private readonly CompileBudget _budget;
    private readonly Dictionary<int[], int> _numbers = new(IntArrayComparer.Instance);
    private readonly List<int[]> _sets = [];
    private readonly int[] _seen;
    private readonly Stack<int> _open = new();
    private int _stamp;

    private DfaBuilder(Nfa nfa, CompileBudget budget)
    {
        _nfa = nfa;
        _budget = budget;
        _seen = new int[nfa.StateCount];
    }

    public static Dfa Build(Expr expr, CompileBudget budget) => new DfaBuilder(new Nfa(expr, budget), budget).Run();

    private Dfa Run()
    {
        (byte[] classOf, int classCount, Dictionary<ByteSet, int[]> classesOf) = ByteClasses();
        var next = new List<int>();
        var accepts = new List<bool>();
        var calls = new List<(int Rule, int Target)[]?>();
        Number([Nfa.Start]);
        var targets = new List<int>[classCount];
        for (int i = 0; i < classCount; i++)
        {
            targets[i] = [];
        }

        for (int state = 0; state < _sets.Count; state++)
        {
            _budget.CountCells(classCount);
            SortedDictionary<int, List<int>>? called = null;
            Array.ForEach(targets, t => t.Clear());
            foreach (int member in _sets[state])
            {
                int steps = 1;
                foreach (Nfa.Edge edge in _nfa.EdgesOf(member))
                {
                    steps++;
                    if (edge.Label == Nfa.Byte)
                    {
                        int[] classes = classesOf[edge.Set];
                        steps += classes.Length;
                        foreach (int c in classes)
                        {
                            targets[c].Add(edge.Target);
                        }
                    }
                    else if (edge.Label >= 0)
                    {
                        called ??= [];
                        if (!called.TryGetValue(edge.Label, out List<int>? list))
                        {
                            called.Add(edge.Label, list = []);
                        }

                        list.Add(edge.Target);
                    }
                }

                _budget.Spend(steps);
            }

            foreach (List<int> target in targets)
            {
                next.Add(target.Count == 0 ? Dfa.Dead : Number(target));
            }

            accepts.Add(Array.BinarySearch(_sets[state], Nfa.Accept) >= 0);
            _budget.Spend(WorkOfCall * (long)(called?.Count ?? 0));
            _budget.CountCells(CellsOfCall * (called?.Count ?? 0));
            calls.Add(called is null ? null : [.. called.Select(c => (c.Key, Number(c.Value)))]);
        }

        return new Dfa { ClassOf = classOf, ClassCount = classCount, Next = [.. next], Accepts = [.. accepts], Calls = [.. calls] };
    }

    /// <summary>Number of the state that some states of the <see cref="Nfa"/> and all behind empty edges make.</summary>
    private int Number(List<int> kernel)
    {
        _stamp++;
        foreach (int state in kernel)
        {
            Open(state);
        }

        var closure = new List<int>();
        while (_open.TryPop(out int state))
        {
            int steps = 1;
            bool matters = state == Nfa.Accept;
            foreach (Nfa.Edge edge in _nfa.EdgesOf(state))
            {
                steps++;
                if (edge.Label == Nfa.Epsilon)
                {
                    Open(edge.Target);
                }
                else
                {
                    matters = true;
                }
            }

            if (matters)
            {
                closure.Add(state);
            }

            _budget.Spend(steps);
        }

        _budget.Spend((long)closure.Count * WorkOfSorting);
        closure.Sort();
        int[] key = [.. closure];
        if (!_numbers.TryGetValue(key, out int number))
        {
            _budget.CountState();
            _budget.CountCells(key.Length);
            number = _sets.Count;
            _numbers.Add(key, number);
            _sets.Add(key);
        }

        return number;
    }

    private void Open(int state)
    {
        if (_seen[state] != _stamp)
        {
            _seen[state] = _stamp;
            _open.Push(state);
        }
    }

    private (byte[] ClassOf, int Count, Dictionary<ByteSet, int[]> ClassesOf) ByteClasses()
    {
        _budget.Spend(_nfa.AllEdges.Count);
        HashSet<ByteSet> sets = [.. _nfa.AllEdges.Where(e => e.Label == Nfa.Byte).Select(e => e.Set)];
        var partition = new BytePartition();
        foreach (ByteSet set in sets)
        {
            partition.Refine(value => set.Contains(value) ? 1 : 0);
            _budget.Spend(2 * BytePartition.Work);
        }

        return (partition.ClassOf, partition.Count, sets.ToDictionary(s => s, s => Enumerable.Range(0, 256).Where(v => s.Contains(v)).Select(v => (int)partition.ClassOf[v]).Distinct().ToArray()));
    }
}
