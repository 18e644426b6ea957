// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Checkpoints;

/// <summary>Which shard holds which tensor, from <c>model.safetensors.index.json</c> or the single file.</summary>
internal sealed class ShardIndex
{
    public const string File = "model.safetensors.index.json";
    public const string SingleFile = "model.safetensors";

    /// <summary>What helps where a shard's header, which agrees with the shard's length, differs from the index: either may be wrong, and one is a thousand times smaller.</summary>
    public const string WhereItDiffers = $"Delete {File} and fetch it again, and this shard only if that changes nothing.";

    private ShardIndex(IReadOnlyList<string> shards, IReadOnlyDictionary<string, int>? shardOf)
    {
        Shards = shards;
        ShardOf = shardOf;
    }

    /// <summary>File names of the shards, in order of name.</summary>
    public IReadOnlyList<string> Shards { get; }

    /// <summary>Index into <see cref="Shards"/> by tensor name; null for a single file without an index.</summary>
    public IReadOnlyDictionary<string, int>? ShardOf { get; }

    public static ShardIndex Read(CheckpointFiles files)
    {
        if (files.Exists(File))
        {
            return Parse(files.ReadAll(File), files.PathOf(File));
        }

        if (files.Exists(SingleFile))
        {
            return new ShardIndex([SingleFile], null);
        }

        throw new CheckpointException(files.PathOf(File), null, $"Neither {File} nor {SingleFile} exists.", files.OtherContents ?? "Give the folder that holds the model's weights as downloaded.");
    }

    public static ShardIndex Parse(ReadOnlySpan<byte> json, string path)
    {
        var fileOf = new Dictionary<string, string>(StringComparer.Ordinal);
        var names = new SortedDictionary<string, int>(StringComparer.Ordinal);
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 8 });
            bool found = false;
            reader.Read();
            SafetensorsHeader.Expect(reader.TokenType == JsonTokenType.StartObject, path, null, "Expected a JSON object.");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                bool map = reader.ValueTextEquals("weight_map"u8);
                reader.Read();
                if (!map)
                {
                    reader.Skip();
                    continue;
                }

                SafetensorsHeader.Expect(!found && reader.TokenType == JsonTokenType.StartObject, path, "weight_map", "Expected one JSON object.");
                found = true;
                ReadMap(ref reader, path, fileOf, names);
            }

            SafetensorsHeader.Expect(found && names.Count > 0, path, "weight_map", "Expected a map of tensors to files, found none.");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new CheckpointException(path, null, $"The file is not valid JSON: {e.Message}", innerException: e);
        }

        List<string> shards = [.. names.Keys];
        for (int i = 0; i < shards.Count; i++)
        {
            names[shards[i]] = i;
        }

        return new ShardIndex(shards, fileOf.ToDictionary(p => p.Key, p => names[p.Value], StringComparer.Ordinal));
    }

    private static void ReadMap(ref Utf8JsonReader reader, string path, Dictionary<string, string> fileOf, SortedDictionary<string, int> names)
    {
        var interned = new Dictionary<string, string>(StringComparer.Ordinal);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string tensor = reader.GetString()!;
            reader.Read();
            SafetensorsHeader.Expect(reader.TokenType == JsonTokenType.String, path, tensor, "Expected the name of a file.");
            string file = reader.GetString()!;
            if (!interned.TryGetValue(file, out string? known))
            {
                // A name from a downloaded file must not lead out of the folder.
                bool plain = file.Length is > 0 and <= 255 && file.AsSpan().IndexOfAny("/\\:\0") < 0 && file is not ("." or "..");
                SafetensorsHeader.Expect(plain, path, tensor, $"Expected the plain name of a file in this folder, found '{file[..Math.Min(file.Length, 80)]}'.");
                known = file;
                interned.Add(file, file);
                names[file] = 0;
            }

            SafetensorsHeader.Expect(fileOf.TryAdd(tensor, known), path, tensor, "The index lists this tensor twice.");
        }
    }
}
