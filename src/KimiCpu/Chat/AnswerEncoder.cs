// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>
/// Encodes the texts of one answer, in order, as the tokens that the model wrote them as: of the generated tokens between two
/// control tokens those that spell a text to the byte. Texts that were not written so, such as rewritten ids, are encoded.
/// </summary>
/// <param name="tokenizer">Of the model.</param>
/// <param name="generated">The answer's tokens, from any source; null where they are not known.</param>
internal sealed class AnswerEncoder(KimiTokenizer tokenizer, IReadOnlyList<int>? generated)
{
    private int _next;

    /// <summary>Adds the tokens of the next text.</summary>
    public void Encode(string text, PromptTokens tokens)
    {
        if (text.Length == 0)
        {
            return;
        }

        if (!TryFind(Encoding.UTF8.GetBytes(text), out int start, out int end))
        {
            tokens.Encode(text);
            return;
        }

        for (int i = start; i < end; i++)
        {
            tokens.Add(generated![i]);
        }

        _next = end;
    }

    private bool TryFind(ReadOnlySpan<byte> text, out int start, out int end)
    {
        int count = generated?.Count ?? 0;
        for (start = _next; start < count; start = end + 1)
        {
            int spelled = 0;
            for (end = start; end < count && IsText(generated![end]); end++)
            {
                spelled = spelled >= 0 && text[spelled..].StartsWith(tokenizer.GetBytes(generated[end])) ? spelled + tokenizer.GetBytes(generated[end]).Length : -1;
            }

            if (spelled == text.Length)
            {
                return true;
            }
        }

        end = start;
        return false;
    }

    private bool IsText(int token) => token >= 0 && token < tokenizer.VocabularySize && !tokenizer.IsSpecial(token);
}
