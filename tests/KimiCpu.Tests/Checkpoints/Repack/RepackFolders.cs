// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Security.Cryptography;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tests.Checkpoints.Repack;

/// <summary>What repack tests do with checkpoint folders.</summary>
internal static class RepackFolders
{
    /// <summary>The tiny checkpoints of every layout, and the trained one.</summary>
    public static readonly string[] Checkpoints = ["tiny-bf16", "tiny-fp8", "tiny-int4", "tiny-k25", "tiny-qproj", "tiny-steady", "kimi-nano"];

    public static string PathOf(string checkpoint) => checkpoint == "kimi-nano" ? Repository.NanoModel : Repository.Checkpoint(checkpoint);

    public static RepackResult Repack(string source, string target, ITargetDrive? drive = null, IProgress<RepackProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        RepackSource opened = RepackSource.Open(source);
        return new Repacker(opened, RepackPlan.Of(opened), target, drive).Run(progress, cancellationToken);
    }

    /// <summary>Type, shape and hash of every tensor of every shard, by the name in the file.</summary>
    public static Dictionary<string, string> Tensors(string folder)
    {
        var files = new FolderCheckpointFiles(folder);
        var tensors = new Dictionary<string, string>();
        foreach (string shard in ShardIndex.Read(files).Shards)
        {
            byte[] bytes = File.ReadAllBytes(Path.Combine(folder, shard));
            foreach (TensorEntry tensor in SafetensorsHeader.Read(files, shard, 0))
            {
                tensors.Add(tensor.Name, $"{tensor} {Convert.ToHexString(SHA256.HashData(bytes.AsSpan((int)tensor.Offset, (int)tensor.Length)))}");
            }
        }

        return tensors;
    }

    /// <summary>A folder's files with their hashes.</summary>
    public static Dictionary<string, string> Files(string folder) =>
        Directory.GetFiles(folder, "*", SearchOption.AllDirectories).ToDictionary(f => Path.GetRelativePath(folder, f), f => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(f))));

    public static long Bytes(string folder) => new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length);

    public static string Copy(string folder, string target)
    {
        Directory.CreateDirectory(target);
        foreach (string file in Directory.GetFiles(folder))
        {
            File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
        }

        return target;
    }

    public static void FlipByte(string path, long at)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
        stream.Position = at;
        int value = stream.ReadByte();
        stream.Position = at;
        stream.WriteByte((byte)(value ^ 16));
    }
}
