// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>Thompson's construction of an automaton from an <see cref="Expr"/>. State 0 is the start, 1 accepts.</summary>
internal sealed class Nfa
{
    /// <summary>Label of edges that read nothing; labels from 0 are rules.</summary>
    public const int Epsilon = -1;

    /// <summary>Label of edges that read a byte.</summary>
    public const int Byte = -2;

    public const int Start = 0;
    public const int Accept = 1;

    /// <summary>200 MB, until it is deterministic. Edges without a state each are those of alternatives, which repetitions multiply.</summary>
    public const int MaxEdges = 4_000_000;

    /// <summary>It is kept, and its list moved now and then.</summary>
    private const int WorkOfEdge = 16;

    private readonly List<int> _first = [];
    private readonly List<Edge> _edges = [];
    private readonly CompileBudget _budget;

    public Nfa(Expr expr, CompileBudget budget)
    {
        _budget = budget;
        NewState();
        NewState();
        Add(expr, Start, Accept);
    }

    public int StateCount => _first.Count;

    public IReadOnlyList<Edge> AllEdges => _edges;

    public EdgeList EdgesOf(int state) => new(_edges, _first[state]);

    private int NewState()
    {
        _budget.CountState();
        _first.Add(-1);
        return _first.Count - 1;
    }

    private void Connect(int from, int to, int label = Epsilon, ByteSet set = default)
    {
        _budget.Spend(WorkOfEdge);
        if (_edges.Count == MaxEdges)
        {
            throw new KimiConstraintException($"The constraint needs more than {MaxEdges:N0} edges between the states of one part. Use fewer alternatives, or smaller bounds of repetitions of alternatives.");
        }

        _edges.Add(new Edge(label, set, to, _first[from]));
        _first[from] = _edges.Count - 1;
    }

    /// <summary>Never adds an edge into <paramref name="from"/> or out of <paramref name="to"/>, so that parts can share them.</summary>
    private void Add(Expr expr, int from, int to)
    {
        switch (expr)
        {
            case BytesExpr bytes:
                Connect(from, to, Byte, bytes.Set);
                break;
            case LiteralExpr literal:
                AddLiteral(literal.Value, from, to);
                break;
            case SequenceExpr sequence:
                AddSequence(sequence.Parts, from, to);
                break;
            case ChoiceExpr choice:
                foreach (Expr branch in choice.Branches)
                {
                    Add(branch, from, to);
                }

                break;
            case RepeatExpr repeat:
                AddRepeat(repeat, from, to);
                break;
            case CallExpr call:
                Connect(from, to, call.Rule);
                break;
            case GraphExpr graph:
                AddGraph(graph, from, to);
                break;
        }
    }

    private void AddLiteral(byte[] value, int from, int to) => AddChain(value.Length, from, to, (i, a, b) => Connect(a, b, Byte, ByteSet.Of(value[i])));

    private void AddSequence(Expr[] parts, int from, int to) => AddChain(parts.Length, from, to, (i, a, b) => Add(parts[i], a, b));

    private void AddChain(int length, int from, int to, Action<int, int, int> add)
    {
        if (length == 0)
        {
            Connect(from, to);
        }

        for (int i = 0; i < length; i++)
        {
            int next = i == length - 1 ? to : NewState();
            add(i, from, next);
            from = next;
        }
    }

    private void AddRepeat(RepeatExpr repeat, int from, int to)
    {
        for (int i = 0; i < repeat.Min; i++)
        {
            int next = NewState();
            Add(repeat.Item, from, next);
            from = next;
        }

        if (repeat.Max is null)
        {
            int loop = NewState();
            Connect(from, loop);
            Add(repeat.Item, loop, loop);
            Connect(loop, to);
            return;
        }

        for (int i = repeat.Min; i < repeat.Max; i++)
        {
            Connect(from, to);
            int next = NewState();
            Add(repeat.Item, from, next);
            from = next;
        }

        Connect(from, to);
    }

    private void AddGraph(GraphExpr graph, int from, int to)
    {
        var states = new int[graph.StateCount];
        for (int i = 0; i < states.Length; i++)
        {
            states[i] = NewState();
        }

        Connect(from, states[0]);
        foreach ((int source, Expr? via, int target) in graph.Edges)
        {
            Add(via ?? Expr.Empty, states[source], states[target]);
        }

        foreach (int accepting in graph.Accepting)
        {
            Connect(states[accepting], to);
        }
    }

    /// <param name="Label"><see cref="Epsilon"/>, <see cref="Byte"/>, or a rule.</param>
    /// <param name="Set">Bytes of a byte edge.</param>
    /// <param name="Target">State behind it.</param>
    /// <param name="Next">Next edge of the same state; -1 for none.</param>
    public readonly record struct Edge(int Label, ByteSet Set, int Target, int Next);

    /// <summary>The edges of one state, for foreach.</summary>
    public readonly struct EdgeList(List<Edge> edges, int first)
    {
        public Enumerator GetEnumerator() => new(edges, first);

        public struct Enumerator(List<Edge> edges, int next)
        {
            private int _next = next;

            public Edge Current { get; private set; }

            public bool MoveNext()
            {
                if (_next < 0)
                {
                    return false;
                }

                Current = edges[_next];
                _next = Current.Next;
                return true;
            }
        }
    }
}
