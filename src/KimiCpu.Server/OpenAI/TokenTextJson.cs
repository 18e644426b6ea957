// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using KimiCpu.Server.Http;
using KimiCpu.Tokens;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Writes the text of tokens as it goes out: a token takes a few bytes of a request, and its text may have a hundred.</summary>
internal static class TokenTextJson
{
    private const int TokensAtOnce = 1024;

    /// <param name="context">Of the request.</param>
    /// <param name="names">Of the fields that each have the whole text.</param>
    /// <param name="tokenizer">Of the model.</param>
    /// <param name="tokens">Of its vocabulary.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    public static async Task WriteAsync(HttpContext context, string[] names, KimiTokenizer tokenizer, ReadOnlyMemory<int> tokens, CancellationToken cancellationToken)
    {
        // Once it has begun there is no other answer.
        cancellationToken.ThrowIfCancellationRequested();
        PipeWriter body = context.Response.BodyWriter;
        context.Response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(body, JsonText.Options);
        var text = new SegmentedText(json, tokenizer);
        json.WriteStartObject();
        foreach (string name in names)
        {
            json.WritePropertyName(name);
            int at = 0;
            do
            {
                int end = Math.Min(tokens.Length, at + TokensAtOnce);
                text.Write(tokens.Span[at..end], isLast: end == tokens.Length);
                at = end;
                await json.FlushAsync(cancellationToken).ConfigureAwait(false);
                await body.FlushAsync(cancellationToken).ConfigureAwait(false);
            }
            while (at < tokens.Length);
        }

        json.WriteEndObject();
        await json.FlushAsync(cancellationToken).ConfigureAwait(false);
        await body.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>A text of tokens as a value in parts, of which each begins with what was left of a character.</summary>
    private sealed class SegmentedText(Utf8JsonWriter json, KimiTokenizer tokenizer)
    {
        private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
        private readonly ArrayBufferWriter<byte> _bytes = new();
        private char[] _characters = [];

        public void Write(ReadOnlySpan<int> tokens, bool isLast)
        {
            _bytes.ResetWrittenCount();
            foreach (int token in tokens)
            {
                _bytes.Write(tokenizer.GetBytes(token));
            }

            int most = Encoding.UTF8.GetMaxCharCount(_bytes.WrittenCount);
            if (_characters.Length < most)
            {
                _characters = new char[most];
            }

            int count = _decoder.GetChars(_bytes.WrittenSpan, _characters, flush: isLast);
            json.WriteStringValueSegment(_characters.AsSpan(0, count), isLast);
        }
    }
}
