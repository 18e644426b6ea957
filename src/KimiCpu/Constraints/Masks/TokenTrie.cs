// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Constraints.Automata;

namespace KimiCpu.Constraints.Masks;

/// <summary>Tokens by their bytes: the nodes of a trie in the order of a walk, each with the place behind its subtree.</summary>
internal sealed class TokenTrie
{
    /// <summary>
    /// Of one walk: the readings that are followed from its states, for bytes that all of these take alike once, and what a state costs
    /// besides. With 160,000 tokens 500 branches of an object take 50,000, all formats and usual patterns less. Where each text can be read
    /// in thousands of ways, which only patterns made for it bring about, a walk would take minutes.
    /// </summary>
    public const int MaxWork = 250_000;

    private const int WorkOfState = 16;

    /// <summary>Kinds of readings of which it takes as long to see what all bytes do to them as to follow one reading.</summary>
    private const int KindsOfReading = 2;

    private readonly Node[] _nodes;
    private readonly int[] _tokens;
    private readonly int _depth;

    /// <param name="tokens">With their bytes, ordered by these; none is empty.</param>
    public TokenTrie(IEnumerable<(int Token, ReadOnlyMemory<byte> Bytes)> tokens)
    {
        var nodes = new List<Node>();
        var ordered = new List<int>();
        var path = new List<int>();
        ReadOnlyMemory<byte> last = default;
        foreach ((int token, ReadOnlyMemory<byte> bytes) in tokens)
        {
            int shared = last.Span.CommonPrefixLength(bytes.Span);
            Close(nodes, path, shared, ordered.Count);
            for (int i = shared; i < bytes.Length; i++)
            {
                path.Add(nodes.Count);
                nodes.Add(new Node(bytes.Span[i], (ushort)i, 0, i == bytes.Length - 1 ? token : -1, ordered.Count, 0, 0));
            }

            ordered.Add(token);

            _depth = Math.Max(_depth, bytes.Length);
            last = bytes;
        }

        Close(nodes, path, 0, ordered.Count);
        _tokens = [.. ordered];
        _nodes = [.. nodes];
    }

    /// <summary>Bytes of the longest token.</summary>
    public int Depth => _depth;

    /// <summary>
    /// Adds the tokens that a state can read. When the work comes to its end, tokens not looked at by then are left out but for single bytes:
    /// what is found is right, the same whatever is known of the automaton already, and always has the single bytes that can be read.
    /// </summary>
    /// <returns>The work.</returns>
    public long Walk(Automaton automaton, AutomatonState start, Span<ulong> mask)
    {
        var at = new AutomatonState[_depth + 1];
        at[0] = start;
        int walk = automaton.BeginWalk();
        long work = 0;
        AutomatonState dead = automaton.Dead;
        ReadOnlySpan<byte> classOf = automaton.ClassOf;
        ReadOnlySpan<Node> nodes = _nodes;
        for (int i = 0; i < nodes.Length;)
        {
            ref readonly Node node = ref nodes[i];
            AutomatonState from = at[node.Depth];
            Transition taken = from.Next[classOf[node.Label]] ?? automaton.Take(from, node.Label);
            AutomatonState next = taken.Target;
            if (taken.Walk != walk)
            {
                work += CountAll(automaton, from, taken, walk, MaxWork - work);
                if (work > MaxWork)
                {
                    AddBytes(start, mask);
                    return work;
                }
            }

            if (next == dead)
            {
                i = node.End;
                continue;
            }

            if (next == from && (node.Below & ~automaton.LoopsOf(next)) == 0)
            {
                // Nothing below leads anywhere else, so all of it is read.
                foreach (int token in _tokens.AsSpan(node.FirstToken..node.EndToken))
                {
                    mask[token >> 6] |= 1UL << (token & 63);
                }

                i = node.End;
                continue;
            }

            if (node.Token >= 0)
            {
                mask[node.Token >> 6] |= 1UL << (node.Token & 63);
            }

            if (++i < node.End)
            {
                at[node.Depth + 1] = next;
            }
        }

        return work;
    }

    /// <summary>What it takes to come where a transition leads, and where that is back, to look at the letters that lead back: until there is none left.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static long CountAll(Automaton automaton, AutomatonState from, Transition taken, int walk, long left)
    {
        long work = Count(automaton, taken, walk);
        for (int letter = 0; taken.Target == from && work <= left && letter < ByteLoops.Bytes.Length; letter++)
        {
            work += Count(automaton, automaton.Take(from, ByteLoops.Bytes[letter]), walk);
        }

        return work;
    }

    /// <summary>What it takes to come where a transition leads, once in a walk.</summary>
    private static long Count(Automaton automaton, Transition taken, int walk)
    {
        if (taken.Walk == walk)
        {
            return 0;
        }

        taken.Walk = walk;
        AutomatonState next = taken.Target;
        if (next.Walk == walk)
        {
            return taken.Work;
        }

        next.Walk = walk;
        return taken.Work + WorkOfState + (automaton.KindsOf(next).Length / KindsOfReading);
    }

    /// <summary>Adds the tokens of one byte that a state can read.</summary>
    private void AddBytes(AutomatonState start, Span<ulong> mask)
    {
        for (int i = 0; i < _nodes.Length; i = _nodes[i].End)
        {
            if (_nodes[i].Token is >= 0 and int token && Automaton.Reads(start, _nodes[i].Label))
            {
                mask[token >> 6] |= 1UL << (token & 63);
            }
        }
    }

    /// <summary>Ends the subtrees below a depth, the deepest first.</summary>
    private static void Close(List<Node> nodes, List<int> path, int depth, int tokens)
    {
        for (int i = path.Count - 1; i >= depth; i--)
        {
            Node node = nodes[path[i]] with { End = nodes.Count, EndToken = tokens };
            nodes[path[i]] = node;
            if (i > 0)
            {
                Node parent = nodes[path[i - 1]];
                nodes[path[i - 1]] = parent with { Below = parent.Below | node.Below | ByteLoops.BitOf(node.Label) };
            }
        }

        path.RemoveRange(depth, path.Count - depth);
    }

    /// <param name="Label">Last byte of the path.</param>
    /// <param name="Depth">Bytes before it.</param>
    /// <param name="End">First node that is not below this one.</param>
    /// <param name="Token">Whose bytes the path is; -1 for none.</param>
    /// <param name="FirstToken">Place of the first token of this node and below.</param>
    /// <param name="EndToken">Place behind the last one.</param>
    /// <param name="Below">Bytes on the paths below, by <see cref="ByteLoops"/>.</param>
    private readonly record struct Node(byte Label, ushort Depth, int End, int Token, int FirstToken, int EndToken, ulong Below);
}
