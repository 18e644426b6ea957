// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>The tokens of a prompt as they come: control tokens by id, and texts without any.</summary>
/// <param name="tokenizer">Of the model.</param>
/// <param name="cancellationToken">Honoured within a text, which may be of any length.</param>
internal sealed class PromptTokens(KimiTokenizer tokenizer, CancellationToken cancellationToken)
{
    private readonly List<int> _tokens = [];

    public void Add(int token) => _tokens.Add(token);

    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Encode(string text)
    {
        cancellationToken.ThrowIfCancellationRequested();
        tokenizer.Encode(Encoding.UTF8.GetBytes(text), allowSpecial: false, _tokens, cancellationToken);
    }

    public int[] ToArray() => [.. _tokens];
}
