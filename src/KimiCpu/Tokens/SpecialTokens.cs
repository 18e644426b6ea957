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

    /// <summary>Of a name; the releases' have 40 at most, and the tree takes a hundred bytes for each.</summary>
    private const int MostCharacters = 1024;

    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly byte[][] _bytes = new byte[Count][];
    private readonly SearchValues<byte> _beginnings;

    /// <summary>The names as a tree: where a byte leads from each of the nodes, of which the first is before any.</summary>
    private readonly Dictionary<(int Node, byte Value), int> _next = [];
    private readonly List<int?> _idOfNode = [null];
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
            AddToTree(_bytes[i], first + i);
        }

        _beginnings = SearchValues.Create(_bytes.Select(b => b[0]).Distinct().ToArray());
    }

    public IReadOnlyDictionary<string, int> Ids => _ids;

    public ReadOnlySpan<byte> Bytes(int id) => _bytes[id - _first];

    /// <summary>Finds the leftmost special token in a text, the longest where several begin.</summary>
    public bool TryFind(ReadOnlySpan<byte> text, out int start, out int length, out int id)
    {
        for (start = text.IndexOfAny(_beginnings); start >= 0;)
        {
            if (TryMatch(text[start..], out length, out id))
            {
                return true;
            }

            int next = text[(start + 1)..].IndexOfAny(_beginnings);
            start = next < 0 ? -1 : start + 1 + next;
        }

        (length, id) = (0, -1);
        return false;
    }

    private void AddToTree(byte[] name, int id)
    {
        int node = 0;
        foreach (byte value in name)
        {
            if (!_next.TryGetValue((node, value), out int next))
            {
                next = _idOfNode.Count;
                _next.Add((node, value), next);
                _idOfNode.Add(null);
            }

            node = next;
        }

        _idOfNode[node] = id;
    }

    /// <summary>The longest name that a text begins with.</summary>
    private bool TryMatch(ReadOnlySpan<byte> text, out int length, out int id)
    {
        (length, id) = (0, -1);
        int node = 0;
        for (int i = 0; i < text.Length && _next.TryGetValue((node, text[i]), out node); i++)
        {
            if (_idOfNode[node] is { } found)
            {
                (length, id) = (i + 1, found);
            }
        }

        return length > 0;
    }

    private static void ReadNames(JsonElement root, string?[] names, int first, string source)
    {
        JsonElement tokens = default;
        if (root.ValueKind == JsonValueKind.Object && !root.TryGetProperty("added_tokens_decoder", out tokens))
        {
            // As transformers 5 saves it beside a tokenizer.json.
            throw new CheckpointException(source, "added_tokens_decoder", "Expected an object of token ids, found none.", "Take this file and tiktoken.model from the release of the Kimi K2 family that the model was made of.") { IsIntact = true };
        }

        if (tokens.ValueKind != JsonValueKind.Object)
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
                && content.GetString()!.Length is > 0 and <= MostCharacters;
            if (!valid)
            {
                throw new CheckpointException(source, "added_tokens_decoder", $"Expected ids from {first} to {first + Count - 1}, each with a content of at most {MostCharacters:N0} characters; found '{token.Name}'.");
            }

            names[id - first] = token.Value.GetProperty("content").GetString();
        }
    }
}
