// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Tokens;

namespace KimiCpu.Server.OpenAI;

/// <summary>Where the texts of tokens begin in the text that they make together, in characters: some are but a part of one.</summary>
/// <param name="tokenizer">Of the model.</param>
internal sealed class TextOffset(KimiTokenizer tokenizer)
{
    private readonly TokenStreamDecoder _decoder = new(tokenizer);
    private int _length;

    /// <summary>The offset of the next token.</summary>
    public int Next(int token)
    {
        int offset = _length;
        _length += _decoder.Append(token).Length;
        return offset;
    }
}
