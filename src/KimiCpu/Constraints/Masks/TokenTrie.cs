// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Automata;

namespace KimiCpu.Constraints.Masks;

/// <summary>Tokens by their bytes: the nodes of a trie in the order of a walk, each with the place behind its subtree.</summary>
internal sealed class TokenTrie
{
    private readonly Node[] _nodes;
    private readonly int _depth;

    /// <param name="tokens">With their bytes, ordered by these; none is empty.</param>
    public TokenTrie(IEnumerable<(int Token, ReadOnlyMemory<byte> Bytes)> tokens)
    {
        var nodes = new List<Node>();
        var path = new List<int>();
        ReadOnlyMemory<byte> last = default;
        foreach ((int token, ReadOnlyMemory<byte> bytes) in tokens)
        {
            int shared = last.Span.CommonPrefixLength(bytes.Span);
            Close(nodes, path, shared);
            for (int i = shared; i < bytes.Length; i++)
            {
                path.Add(nodes.Count);
                nodes.Add(new Node(bytes.Span[i], (ushort)i, 0, i == bytes.Length - 1 ? token : -1));
            }

            _depth = Math.Max(_depth, bytes.Length);
            last = bytes;
        }

        Close(nodes, path, 0);
        _nodes = [.. nodes];
    }

    public int NodeCount => _nodes.Length;

    /// <summary>Adds the tokens that a state can read.</summary>
    public void Walk(Automaton automaton, AutomatonState start, Span<ulong> mask)
    {
        var at = new AutomatonState[_depth + 1];
        at[0] = start;
        ReadOnlySpan<Node> nodes = _nodes;
        for (int i = 0; i < nodes.Length;)
        {
            ref readonly Node node = ref nodes[i];
            AutomatonState next = automaton.Step(at[node.Depth], node.Label);
            if (next.IsDead)
            {
                i = node.End;
                continue;
            }

            if (node.Token >= 0)
            {
                mask[node.Token >> 6] |= 1UL << (node.Token & 63);
            }

            at[node.Depth + 1] = next;
            i++;
        }
    }

    /// <summary>Ends the subtrees below a depth.</summary>
    private static void Close(List<Node> nodes, List<int> path, int depth)
    {
        foreach (int node in path.Skip(depth))
        {
            nodes[node] = nodes[node] with { End = nodes.Count };
        }

        path.RemoveRange(depth, path.Count - depth);
    }

    /// <param name="Label">Last byte of the path.</param>
    /// <param name="Depth">Bytes before it.</param>
    /// <param name="End">First node that is not below this one.</param>
    /// <param name="Token">Whose bytes the path is; -1 for none.</param>
    private readonly record struct Node(byte Label, ushort Depth, int End, int Token);
}
