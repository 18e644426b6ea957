// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Text;

namespace KimiCpu.Tokens;

/// <summary>Turns a stream of tokens into text, holding back the bytes of a character that is not complete yet. For one stream; not thread-safe.</summary>
public sealed class TokenStreamDecoder
{
    private readonly KimiTokenizer _tokenizer;
    private readonly List<byte> _pending = [];

    /// <summary>Creates a decoder at the start of a stream.</summary>
    /// <param name="tokenizer">Knows the tokens' bytes.</param>
    public TokenStreamDecoder(KimiTokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        _tokenizer = tokenizer;
    }

    /// <summary>Whether the tokens so far end within a character.</summary>
    internal bool HasPending => _pending.Count > 0;

    /// <summary>The text that a further token completes; empty while a character is unfinished. Bytes that can never become UTF-8 give U+FFFD.</summary>
    /// <param name="token">In 0 … vocabulary - 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">The id is outside the vocabulary.</exception>
    public string Append(int token)
    {
        _pending.AddRange(_tokenizer.GetBytes(token));
        ReadOnlySpan<byte> bytes = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_pending);
        int whole = bytes.Length - UnfinishedBytes(bytes);
        string text = Encoding.UTF8.GetString(bytes[..whole]);
        _pending.RemoveRange(0, whole);
        return text;
    }

    /// <summary>What is left at the end of the stream; an unfinished character gives U+FFFD.</summary>
    public string Flush()
    {
        string text = Encoding.UTF8.GetString(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_pending));
        _pending.Clear();
        return text;
    }

    /// <summary>Bytes at the end that are the beginning of a character.</summary>
    private static int UnfinishedBytes(ReadOnlySpan<byte> bytes)
    {
        for (int count = Math.Min(3, bytes.Length); count > 0; count--)
        {
            if (Rune.DecodeFromUtf8(bytes[^count..], out _, out int consumed) == OperationStatus.NeedMoreData && consumed == count)
            {
                return count;
            }
        }

        return 0;
    }
}
