// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Tokens;

/// <summary>Encodings by the independent reference (Fixtures/tokenizer).</summary>
internal static class TokenizerCases
{
    public static KimiTokenizer Tokenizer { get; } = KimiTokenizer.Open(Repository.Fixture("tokenizer", "public", "tokenizer"));

    public sealed record EncodeCase(string Text, int[]? Ids, string[]? Pieces, int[]? IdsSpecialAsText)
    {
        public override string ToString() => JsonSerializer.Serialize(Text.Length <= 40 ? Text : Text[..40] + "…");
    }

    public static IEnumerable<EncodeCase> Encode()
    {
        using JsonDocument document = Open();
        foreach (JsonElement item in document.RootElement.GetProperty("encode").EnumerateArray())
        {
            string text = item.TryGetProperty("text", out JsonElement plain)
                ? plain.GetString()!
                : string.Concat(item.GetProperty("repeat").EnumerateArray().Select(r => string.Concat(Enumerable.Repeat(r[0].GetString(), r[1].GetInt32()))));
            yield return new EncodeCase(
                text,
                Ints(item, "ids"),
                item.TryGetProperty("pieces", out JsonElement pieces) ? [.. pieces.EnumerateArray().Select(p => p.GetString()!)] : null,
                Ints(item, "ids_special_as_text"));
        }
    }

    public static IEnumerable<JsonElement> Decode()
    {
        using JsonDocument document = Open();
        return [.. document.RootElement.GetProperty("decode").EnumerateArray().Select(e => e.Clone())];
    }

    private static JsonDocument Open() => JsonDocument.Parse(File.ReadAllText(Repository.Fixture("tokenizer", "public", "cases.json")));

    private static int[]? Ints(JsonElement item, string name) =>
        item.TryGetProperty(name, out JsonElement array) ? [.. array.EnumerateArray().Select(e => e.GetInt32())] : null;
}
