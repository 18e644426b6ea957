// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Checkpoints;

/// <summary>A file of a checkpoint as it was when a repack began, by which a change is noticed.</summary>
/// <param name="Name">Relative to the folder, with slashes.</param>
/// <param name="Bytes">Its length, links followed.</param>
/// <param name="Written">When it was last written, in UTC, links followed.</param>
internal sealed record SourceFile(string Name, long Bytes, DateTime Written)
{
    public static SourceFile Of(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        try
        {
            using SafeFileHandle handle = File.OpenHandle(path);
            return new SourceFile(name, RandomAccess.GetLength(handle), File.GetLastWriteTimeUtc(handle));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(path, e);
        }
    }

    public override string ToString() => FormattableString.Invariant($"{Bytes:N0} bytes of {Written:u}");
}

/// <summary>What lies in the source and is not repacked, though somebody may think so.</summary>
/// <param name="Name">Relative to the folder, with slashes.</param>
/// <param name="Reason">For the user, a sentence without its beginning.</param>
internal sealed record LeftOut(string Name, string Reason);

/// <summary>A checkpoint folder that is to be repacked: all tensors, of vision too, by their names in the files, and the files beside them. Nothing is mapped.</summary>
internal sealed class RepackSource
{
    /// <summary>Of a file, by which a pointer of git-lfs is known.</summary>
    private const int PointerBytes = 64;
    private const string RepackBegan = "when the repack began";
    private const string Anew = "Repack the folder as it is now into an empty one.";

    private RepackSource(string folder, ShardIndex index, List<TensorEntry> tensors, Dictionary<string, string> metadata)
    {
        Folder = folder;
        Shards = index.Shards;
        Tensors = tensors;
        Metadata = metadata;
        var others = new List<string>();
        var folders = new List<LeftOut>();
        Collect(new DirectoryInfo(folder), "", others, folders);
        HashSet<string> replaced = [.. Shards, ShardIndex.File, RepackManifest.File];
        Others = [.. others.Where(f => !replaced.Contains(f) && !RepackManifest.IsBesideJournal(f) && !IsWeights(f)).Order(StringComparer.Ordinal)];
        IEnumerable<LeftOut> unlisted = others.Where(f => !replaced.Contains(f) && IsWeights(f)).Select(f => new LeftOut(f, "the index does not list it"));
        LeftOut = [.. unlisted.Concat(folders).OrderBy(f => f.Name, StringComparer.Ordinal)];
        Files = CurrentFiles();
    }

    public string Folder { get; }

    /// <summary>Names of the files that <see cref="TensorEntry.Shard"/> counts.</summary>
    public IReadOnlyList<string> Shards { get; }

    public IReadOnlyList<TensorEntry> Tensors { get; }

    /// <summary>Of the shards' headers; readers want to know from it for which framework the tensors are.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Files that are copied as they are, relative to the folder. Hidden ones are no part of a checkpoint: systems and tools put them there, and change them at any time.</summary>
    public IReadOnlyList<string> Others { get; }

    /// <summary>Safetensors files that the index does not list, links to folders, and folders that may not be listed.</summary>
    public IReadOnlyList<LeftOut> LeftOut { get; }

    /// <summary>All files that the result depends on, as they were when this was made.</summary>
    public IReadOnlyList<SourceFile> Files { get; }

    /// <param name="folder">As downloaded.</param>
    /// <param name="progress">Told after each shard: shards done, shards in all.</param>
    /// <exception cref="CheckpointException">A shard is missing, or its header is not what the index says.</exception>
    public static RepackSource Open(string folder, Action<int, int>? progress = null)
    {
        var files = new FolderCheckpointFiles(folder);
        ShardIndex index = ShardIndex.Read(files);
        var tensors = new List<TensorEntry>();
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var looked = new List<SourceFile>();
        for (int shard = 0; shard < index.Shards.Count; shard++)
        {
            string path = files.PathOf(index.Shards[shard]);
            if (!files.Exists(index.Shards[shard]))
            {
                throw new CheckpointException(path, null, "The index lists this shard, but the file is missing.", CheckpointException.FetchMissing);
            }

            looked.Add(SourceFile.Of(folder, index.Shards[shard]));
            foreach (TensorEntry entry in SafetensorsHeader.Read(files, index.Shards[shard], shard, metadata))
            {
                bool expected = index.ShardOf is null || (index.ShardOf.TryGetValue(entry.Name, out int listed) && listed == shard);
                SafetensorsHeader.Expect(expected && seen.Add(entry.Name), path, entry.Name, "The index does not list this tensor here, or lists it twice.", ShardIndex.WhereItDiffers);
                tensors.Add(entry);
            }

            progress?.Invoke(shard + 1, index.Shards.Count);
        }

        foreach ((string name, int shard) in index.ShardOf ?? new Dictionary<string, int>())
        {
            SafetensorsHeader.Expect(seen.Contains(name), files.PathOf(index.Shards[shard]), name, "The index lists this tensor here, but the shard does not hold it.", ShardIndex.WhereItDiffers);
        }

        // A download may have put another file in the place of one whose header was read.
        var source = new RepackSource(Path.GetFullPath(folder), index, tensors, metadata);
        source.CheckSame(looked, [.. source.Files.Take(looked.Count)], "when its header was read", "Wait until the download has ended, and run again.");
        foreach (string other in source.Others)
        {
            // They are copied and read by nobody on the way, and what is in their place then costs a repack of everything.
            files.RefuseUnfinished(other);
            files.RefusePointer(other, files.Read(other, 0, (int)Math.Min(files.Length(other), PointerBytes)));
        }

        return source;
    }

    /// <summary>Throws when a file is not what it was when this was made.</summary>
    /// <exception cref="CheckpointException">A file was changed, cut or removed.</exception>
    public void CheckUnchanged() => CheckSame(Files, CurrentFiles(), RepackBegan, Anew);

    /// <summary>The same of one file.</summary>
    /// <exception cref="CheckpointException">It was changed, cut or removed.</exception>
    public void CheckUnchanged(string file) => CheckSame([Files.First(f => f.Name == file)], [SourceFile.Of(Folder, file)], RepackBegan, Anew);

    /// <summary>Throws when files are not those that a repack began with.</summary>
    /// <exception cref="CheckpointException">A file differs.</exception>
    public void CheckSame(IReadOnlyList<SourceFile> before) => CheckSame(before, Files, RepackBegan, Anew);

    private void CheckSame(IReadOnlyList<SourceFile> before, IReadOnlyList<SourceFile> now, string when, string remedy)
    {
        Dictionary<string, SourceFile> known = before.ToDictionary(f => f.Name, StringComparer.Ordinal);
        foreach (SourceFile file in now)
        {
            if (!known.Remove(file.Name, out SourceFile? old))
            {
                throw new CheckpointException(Path.Combine(Folder, file.Name), null, $"The file was not there {when}.", remedy);
            }

            if (old != file)
            {
                throw new CheckpointException(Path.Combine(Folder, file.Name), null, $"The source has changed: {old} {when}, {file} now.", remedy);
            }
        }

        if (known.Count > 0)
        {
            throw new CheckpointException(Path.Combine(Folder, known.Keys.First()), null, $"The file was there {when} and is not any more.", remedy);
        }
    }

    private SourceFile[] CurrentFiles()
    {
        IEnumerable<string> index = File.Exists(Path.Combine(Folder, ShardIndex.File)) ? [ShardIndex.File] : [];
        return [.. Shards.Concat(index).Concat(Others).Select(name => SourceFile.Of(Folder, name))];
    }

    private static bool IsWeights(string file) => file.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase);

    private static void Collect(DirectoryInfo folder, string prefix, List<string> files, List<LeftOut> leftOut)
    {
        FileSystemInfo[] entries;
        try
        {
            // Whole or not at all: half of a folder would pass for all of it.
            entries = [.. folder.EnumerateFileSystemInfos().Where(e => !IsHidden(e))];
        }
        catch (UnauthorizedAccessException e) when (prefix.Length > 0)
        {
            // As lost+found in the root of a drive.
            leftOut.Add(new LeftOut(prefix.TrimEnd('/'), $"it cannot be read: {e.Message.TrimEnd('.')}"));
            return;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(folder.FullName, null, $"The folder cannot be read: {e.Message}", "Check the drive and the permissions.", e);
        }

        files.AddRange(entries.OfType<FileInfo>().Select(f => prefix + f.Name));
        foreach (DirectoryInfo inner in entries.OfType<DirectoryInfo>())
        {
            if (inner.LinkTarget is not null)
            {
                // It may lead in a circle.
                leftOut.Add(new LeftOut(prefix + inner.Name, "it is a link to a folder"));
            }
            else
            {
                Collect(inner, $"{prefix}{inner.Name}/", files, leftOut);
            }
        }
    }

    /// <summary>By its name, or by what Windows gives to things of its own, such as the recycle bin in the root of a drive. Elsewhere what cannot be looked at has all attributes.</summary>
    private static bool IsHidden(FileSystemInfo entry) => entry.Name.StartsWith('.') || (OperatingSystem.IsWindows() && entry.Attributes.HasFlag(FileAttributes.Hidden | FileAttributes.System));
}
