// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// Escapes what JSON demands and nothing else. Of .NET's encoders even the most relaxed one writes emoji and unusual spaces by their numbers
/// (https://github.com/dotnet/runtime/issues/42847).
/// </summary>
internal sealed class PlainJsonEncoder : JavaScriptEncoder
{
    public override int MaxOutputCharactersPerInputCharacter => UnsafeRelaxedJsonEscaping.MaxOutputCharactersPerInputCharacter;

    public override bool WillEncode(int unicodeScalar) => unicodeScalar is < ' ' or '"' or '\\';

    public override unsafe int FindFirstCharacterToEncode(char* text, int textLength)
    {
        int length;
        for (int i = 0; i < textLength; i += length)
        {
            // Half of a surrogate pair is found too, and becomes U+FFFD.
            if (Rune.DecodeFromUtf16(new ReadOnlySpan<char>(text + i, textLength - i), out Rune rune, out length) != OperationStatus.Done || WillEncode(rune.Value))
            {
                return i;
            }
        }

        return -1;
    }

    public override unsafe bool TryEncodeUnicodeScalar(int unicodeScalar, char* buffer, int bufferLength, out int numberOfCharactersWritten) =>
        UnsafeRelaxedJsonEscaping.TryEncodeUnicodeScalar(unicodeScalar, buffer, bufferLength, out numberOfCharactersWritten);
}
