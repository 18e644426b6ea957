// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tokens;

/// <summary>The 256 control tokens behind the ranks: those that <c>tokenizer_config.json</c> names, and reserved ones.</summary>
internal sealed class SpecialTokens
{
    public const int Count = 256;

    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly byte[][] _bytes = new byte[Count][];
    private readonly (byte[] Name, int Id)[] _longestFirst;
    private readonly SearchValues<byte> _beginnings;
    private readonly int _first;

    /// <param name="config">The object in <c>tokenizer_config.json</c>.</param>
    /// <param name="first">Id of the first special token: the number of ranks.</param>
    /// <param name="source">For messages.</param>
    public SpecialTokens(JsonElement config, int first, string source)
    {
        _first = first;
        var names = new string?[Count];
        ReadNames(config, names, first, source);
        for (int i = 0; i < Count; i++)
        {
            string name = names[i] ?? $"<|reserved_token_{first + i}|>";
            if (!_ids.TryAdd(name, first + i))
            {
                throw new CheckpointException(source, "added_tokens_decoder", $"Two tokens are called '{name}'.");
            }

            _bytes[i] = Encoding.UTF8.GetBytes(name);
        }

        _longestFirst = [.. _bytes.Select((name, i) => (name, first + i)).OrderByDescending(t => t.name.Length)];
        _beginnings = SearchValues.Create(_bytes.Select(b => b[0]).Distinct().ToArray());
    }

    public IReadOnlyDictionary<string, int> Ids => _ids;

    public ReadOnlySpan<byte> Bytes(int id) => _bytes[id - _first];

    /// <summary>Finds the leftmost special token in a text, the longest where several begin.</summary>
    public bool TryFind(ReadOnlySpan<byte> text, out int start, out int length, out int id)
    {
        for (start = text.IndexOfAny(_beginnings); start >= 0;)
        {
            foreach ((byte[] name, int known) in _longestFirst)
            {
                if (text[start..].StartsWith(name))
                {
                    (length, id) = (name.Length, known);
                    return true;
                }
            }

            int next = text[(start + 1)..].IndexOfAny(_beginnings);
            start = next < 0 ? -1 : start + 1 + next;
        }

        (length, id) = (0, -1);
        return false;
    }

    private static void ReadNames(JsonElement root, string?[] names, int first, string source)
    {
        if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("added_tokens_decoder", out JsonElement tokens) || tokens.ValueKind != JsonValueKind.Object)
        {
            throw new CheckpointException(source, "added_tokens_decoder", "Expected an object of token ids.");
        }

        foreach (JsonProperty token in tokens.EnumerateObject())
        {
            bool valid = int.TryParse(token.Name, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
                && id >= first && id < first + Count
                && token.Value.ValueKind == JsonValueKind.Object
                && token.Value.TryGetProperty("content", out JsonElement content)
                && content.ValueKind == JsonValueKind.String
                && content.GetString()!.Length > 0;
            if (!valid)
            {
                throw new CheckpointException(source, "added_tokens_decoder", $"Expected ids from {first} to {first + Count - 1}, each with a content; found '{token.Name}'.");
            }

            names[id - first] = token.Value.GetProperty("content").GetString();
        }
    }
}
