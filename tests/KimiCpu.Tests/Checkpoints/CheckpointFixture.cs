// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>A folder of a test, and what tests do to the checkpoint in it.</summary>
internal abstract class CheckpointFixture
{
    /// <summary>Where a test puts its checkpoint.</summary>
    protected string Folder { get; private set; } = "";

    [SetUp]
    public void CreateFolder() => Folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(Folder, recursive: true);

    /// <summary>A tensor, in the shards and in the index.</summary>
    protected void Rename(string name, string other)
    {
        foreach (string file in Directory.GetFiles(Folder, "*.safetensors*"))
        {
            File.WriteAllText(file, File.ReadAllText(file, Encoding.Latin1).Replace(name, other, StringComparison.Ordinal), Encoding.Latin1);
        }
    }

    /// <summary>A shard, in the folder and in the index.</summary>
    protected void RenameShard(int number, string name)
    {
        File.Move(Shard(number), Path.Combine(Folder, name), overwrite: true);
        string index = Path.Combine(Folder, ShardIndex.File);
        File.WriteAllText(index, File.ReadAllText(index).Replace(Path.GetFileName(Shard(number)), name, StringComparison.Ordinal));
    }

    protected string Shard(int number) => Path.Combine(Folder, $"model-{number:D5}-of-00003.safetensors");

    protected void CopyCheckpoint(string name)
    {
        foreach (string file in Directory.GetFiles(Repository.Checkpoint(name)))
        {
            File.Copy(file, Path.Combine(Folder, Path.GetFileName(file)), overwrite: true);
        }
    }

    protected void EditJson(string file, Action<JsonObject> edit)
    {
        string path = Path.Combine(Folder, file);
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        edit(json);
        File.WriteAllText(path, json.ToJsonString());
    }

    protected static void EditHeader(string file, Func<string, string> edit)
    {
        byte[] bytes = File.ReadAllBytes(file);
        int length = (int)BitConverter.ToInt64(bytes);
        byte[] header = System.Text.Encoding.UTF8.GetBytes(edit(System.Text.Encoding.UTF8.GetString(bytes, 8, length)));
        File.WriteAllBytes(file, [.. BitConverter.GetBytes((long)header.Length), .. header, .. bytes.AsSpan(8 + length)]);
    }

    protected static void Truncate(string file, int less)
    {
        using FileStream stream = File.OpenWrite(file);
        stream.SetLength(stream.Length - less);
    }
}
