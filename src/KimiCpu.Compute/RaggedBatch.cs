// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>Which positions of a sequence's new tokens need logits.</summary>
internal enum LogitsWanted
{
    None,
    Last,
    All,
}

/// <summary>A run of new tokens of one sequence inside a <see cref="RaggedBatch"/>.</summary>
/// <param name="FirstRow">Row of its first new token in the batch.</param>
/// <param name="RowCount">New tokens.</param>
/// <param name="Start">Position of the first new token; so many tokens are in the cache already.</param>
/// <param name="Pages">Cache pages of the sequence in order; they cover at least Start + RowCount tokens.</param>
internal readonly record struct BatchSequence(int FirstRow, int RowCount, int Start, ReadOnlyMemory<int> Pages);

/// <summary>The tokens of one forward pass: of one or several sequences, prefill chunks and decode steps mixed. Reusable.</summary>
internal sealed class RaggedBatch
{
    private readonly List<int> _tokens = [];
    private readonly List<int> _positions = [];
    private readonly List<int> _logitRows = [];
    private readonly List<BatchSequence> _sequences = [];

    /// <summary>Tokens in the batch.</summary>
    public int RowCount => _tokens.Count;

    /// <summary>(rows) token ids.</summary>
    public ReadOnlySpan<int> Tokens => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_tokens);

    /// <summary>(rows) position of each token in its sequence.</summary>
    public ReadOnlySpan<int> Positions => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_positions);

    /// <summary>Rows whose logits are wanted, ascending.</summary>
    public ReadOnlySpan<int> LogitRows => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_logitRows);

    public ReadOnlySpan<BatchSequence> Sequences => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_sequences);

    public void Clear()
    {
        _tokens.Clear();
        _positions.Clear();
        _logitRows.Clear();
        _sequences.Clear();
    }

    /// <summary>Appends new tokens of one sequence. A sequence may appear once in a batch.</summary>
    public void Add(ReadOnlySpan<int> tokens, int start, ReadOnlyMemory<int> pages, LogitsWanted wanted)
    {
        ArgumentOutOfRangeException.ThrowIfZero(tokens.Length);
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        if ((long)pages.Length * KvPage.Tokens < (long)start + tokens.Length)
        {
            throw new ArgumentException($"{pages.Length} cache pages hold {pages.Length * KvPage.Tokens} tokens; {start + tokens.Length} are needed.", nameof(pages));
        }

        int firstRow = _tokens.Count;
        _sequences.Add(new BatchSequence(firstRow, tokens.Length, start, pages));
        for (int i = 0; i < tokens.Length; i++)
        {
            _tokens.Add(tokens[i]);
            _positions.Add(start + i);
            if (wanted == LogitsWanted.All || (wanted == LogitsWanted.Last && i == tokens.Length - 1))
            {
                _logitRows.Add(firstRow + i);
            }
        }
    }
}

/// <summary>The unit in which the latent cache grows.</summary>
internal static class KvPage
{
    /// <summary>Tokens a page holds, of every layer.</summary>
    public const int Tokens = 64;
}
