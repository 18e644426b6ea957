// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Checkpoints;

/// <summary>The named files of one checkpoint, wherever they lie.</summary>
internal abstract class CheckpointFiles
{
    /// <summary>Of the tokenizer, and what most other models and all that transformers 5 saves have in its place.</summary>
    private const string Ranks = "tiktoken.model";
    private const string OtherTokenizer = "tokenizer.json";

    /// <summary>Short name to show.</summary>
    public abstract string Name { get; }

    /// <summary>Whether the file is there, which a link that leads nowhere is.</summary>
    /// <exception cref="CheckpointException">The system does not let it be looked at, so that nobody knows.</exception>
    public abstract bool Exists(string file);

    /// <summary>Bytes of an existing file.</summary>
    public abstract long Length(string file);

    /// <summary>Where the file is, for messages.</summary>
    public abstract string PathOf(string file);

    /// <summary>The first <paramref name="count"/> bytes at <paramref name="offset"/>, by an ordinary read that cannot fault.</summary>
    public abstract byte[] Read(string file, long offset, int count);

    /// <summary>The same for many ranges of a file. Each is read when it is asked for.</summary>
    public virtual IEnumerable<byte[]> ReadEach(string file, IEnumerable<(long Offset, int Count)> ranges) => ranges.Select(r => Read(file, r.Offset, r.Count));

    public abstract MappedFile Map(string file);

    /// <summary>What else lies there, and what to do then; null where nothing tells that this is no checkpoint.</summary>
    public virtual string? OtherContents => null;

    /// <summary>Whether the files lie on a drive, so that they can be read without being mapped.</summary>
    public abstract bool AreOnDrive { get; }

    /// <summary>Opens a file for large reads past the page cache.</summary>
    /// <exception cref="NotSupportedException">The files do not lie on a drive.</exception>
    public abstract DirectFile OpenDirect(string file);

    /// <summary>A whole small file.</summary>
    /// <exception cref="CheckpointException">It is missing or longer than <paramref name="limit"/> bytes.</exception>
    public byte[] ReadAll(string file, long limit = 256 << 20)
    {
        if (!Exists(file))
        {
            string? instead = InsteadOf(file);
            throw new CheckpointException(PathOf(file), null, "The file is missing.", instead ?? OtherContents ?? "Download the checkpoint folder completely.") { IsIntact = instead is not null };
        }

        RefuseUnfinished(file);
        long length = Length(file);
        if (length > limit)
        {
            throw new CheckpointException(PathOf(file), null, $"Expected at most {limit:N0} bytes, found {length:N0}.");
        }

        byte[] bytes = Read(file, 0, (int)length);
        RefusePointer(file, bytes);
        return bytes;
    }

    /// <summary>What to do about a file that is missing because the folder has another one in its place, which is read by nobody here; null where it has none.</summary>
    /// <exception cref="CheckpointException">The system does not let that be looked at.</exception>
    public string? InsteadOf(string missing) => missing == Ranks && Exists(OtherTokenizer)
        ? $"The folder has '{OtherTokenizer}' instead, which is not read: models with such a tokenizer are not supported, but for one that was made of a release of the Kimi K2 family take {Ranks} and tokenizer_config.json from that release."
        : null;

    /// <summary>aria2 writes the pieces of a file where they belong as they come, so that one whose download was interrupted has its full length, and zeros in it.</summary>
    /// <param name="file">Its name.</param>
    /// <exception cref="CheckpointException">What aria2 notes of a download lies beside it.</exception>
    public void RefuseUnfinished(string file)
    {
        string notes = file + ".aria2";
        if (Exists(notes))
        {
            throw new CheckpointException(
                PathOf(file), null, $"Expected a whole file, found '{notes}' beside it: its download by aria2 has not ended.", $"Let aria2 go on with it, or delete '{notes}' if something else has fetched the whole file since.")
            {
                IsIntact = true,
            };
        }
    }

    /// <summary>A clone without git-lfs has small texts in place of large files, and is no damaged download.</summary>
    /// <param name="file">Its name.</param>
    /// <param name="begin">How it begins.</param>
    /// <exception cref="CheckpointException">It is such a text.</exception>
    public void RefusePointer(string file, ReadOnlySpan<byte> begin)
    {
        if (begin.StartsWith("version https://git-lfs."u8))
        {
            throw new CheckpointException(
                PathOf(file), null, "Expected the file itself, found the text that git-lfs leaves in its place.", "Run `git lfs pull` in this folder, or download it with `hf download`.")
            {
                IsIntact = true,
            };
        }
    }

    /// <summary>Looks into a small JSON file.</summary>
    /// <exception cref="CheckpointException">It is missing, too long, or not valid JSON in UTF-8.</exception>
    public T ReadJson<T>(string file, Func<JsonElement, T> read)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(ReadAll(file, 16 << 20));
            return read(document.RootElement);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException is how texts report that they are no UTF-8.
            throw new CheckpointException(PathOf(file), null, $"The file is not valid JSON: {e.Message}", innerException: e);
        }
    }
}

/// <summary>A folder as downloaded from a hub, or of links into a hub's cache.</summary>
internal sealed partial class FolderCheckpointFiles : CheckpointFiles
{
    private const string Snapshots = "snapshots";

    /// <summary>Of the folder of a model in a hub's cache: behind it come the publisher and the model, with the same sign between them.</summary>
    private const string CachedModel = "models--";
    private const string Separator = "--";

    private static readonly HashSet<string> s_otherFormats = [".gguf", ".bin", ".pt", ".pth"];

    private readonly string _folder;

    public FolderCheckpointFiles(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw NoFolder(folder);
        }

        _folder = Path.GetFullPath(folder);
    }

    public override string Name => NameOf(_folder);

    public override string? OtherContents
    {
        get
        {
            if (Directory.Exists(Path.Combine(_folder, Snapshots)))
            {
                return $"The folder is one of a hub's cache: give the one below '{Snapshots}' in it.";
            }

            string? other;
            try
            {
                other = Directory.EnumerateFiles(_folder).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal).FirstOrDefault(f => s_otherFormats.Contains(Path.GetExtension(f)));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Where the folder is closed to this user all of its files look as if they were missing.
                throw CheckpointException.Unreadable(_folder, e);
            }

            return other is null ? null : $"The folder has '{other}', and other formats than safetensors are not read: give the model's folder as its makers publish it.";
        }
    }

    /// <summary>
    /// A model's name by its folder: the folder's own, which in a hub's cache would be that of a commit, another one after each update, or have other signs for
    /// dots, and in the root of a drive none at all.
    /// </summary>
    /// <param name="folder">A path; nothing need be there.</param>
    public static string NameOf(string folder)
    {
        string path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        string? parent = Path.GetDirectoryName(path);
        string cached = Path.GetFileName(parent) == Snapshots ? Path.GetFileName(Path.GetDirectoryName(parent)) ?? "" : "";
        string name = cached.StartsWith(CachedModel, StringComparison.Ordinal) ? cached[(cached.LastIndexOf(Separator, StringComparison.Ordinal) + Separator.Length)..] : "";
        string own = MaskedDot().Replace(Path.GetFileName(path), ".");
        return name.Length > 0 ? name : own.Length > 0 ? own : "model";
    }

    /// <summary>What ModelScope's cache has in folders for the dot of a version.</summary>
    [GeneratedRegex("(?<=[0-9])___(?=[0-9])")]
    private static partial Regex MaskedDot();

    public override bool Exists(string file)
    {
        try
        {
            return Presence.Of(PathOf(file)) is { } attributes && !attributes.HasFlag(FileAttributes.Directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(PathOf(file), e);
        }
    }

    public override long Length(string file)
    {
        try
        {
            // Of what a link points to: hub caches consist of links, and FileInfo would give the link's own length.
            using var handle = File.OpenHandle(PathOf(file));
            return RandomAccess.GetLength(handle);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(PathOf(file), e);
        }
    }

    public override string PathOf(string file) => Path.Combine(_folder, file);

    public override byte[] Read(string file, long offset, int count)
    {
        using SafeFileHandle handle = Open(file);
        return Read(handle, file, offset, count);
    }

    /// <summary>Opens the file once.</summary>
    public override IEnumerable<byte[]> ReadEach(string file, IEnumerable<(long Offset, int Count)> ranges)
    {
        using SafeFileHandle handle = Open(file);
        foreach ((long offset, int count) in ranges)
        {
            yield return Read(handle, file, offset, count);
        }
    }

    public override MappedFile Map(string file)
    {
        try
        {
            return MappedFile.Open(PathOf(file));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw CheckpointException.Unreadable(PathOf(file), e);
        }
    }

    public override bool AreOnDrive => true;

    public override DirectFile OpenDirect(string file)
    {
        try
        {
            return DirectFile.Open(PathOf(file));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(PathOf(file), e);
        }
    }

    private static CheckpointException NoFolder(string folder)
    {
        try
        {
            return Presence.OfTarget(folder) is null
                ? new(folder, null, "The folder does not exist.", "Give the folder that holds the model's config.json.")
                : new(folder, null, "Expected a folder, found a file.", "Give the folder that holds the model's config.json and safetensors files, as downloaded; other formats are not read.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return CheckpointException.Unreadable(folder, e, "folder");
        }
    }

    private SafeFileHandle Open(string file)
    {
        try
        {
            return File.OpenHandle(PathOf(file));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(PathOf(file), e);
        }
    }

    private byte[] Read(SafeFileHandle handle, string file, long offset, int count)
    {
        try
        {
            var bytes = new byte[count];
            for (int done = 0; done < count;)
            {
                int got = RandomAccess.Read(handle, bytes.AsSpan(done), offset + done);
                if (got == 0)
                {
                    throw new CheckpointException(PathOf(file), null, $"The file ends at byte {offset + done:N0}, expected {offset + count:N0}.");
                }

                done += got;
            }

            return bytes;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(PathOf(file), e);
        }
    }
}

/// <summary>A checkpoint that an assembly carries as manifest resources.</summary>
internal sealed class EmbeddedCheckpointFiles : CheckpointFiles
{
    private readonly Assembly _assembly;
    private readonly string _prefix;

    /// <param name="assembly">Carrier of the resources.</param>
    /// <param name="prefix">What stands before each file's name in its resource's name.</param>
    /// <param name="name">Short name to show.</param>
    public EmbeddedCheckpointFiles(Assembly assembly, string prefix, string name)
    {
        _assembly = assembly;
        _prefix = prefix;
        Name = name;
    }

    public override string Name { get; }

    public override bool Exists(string file)
    {
        using Stream? stream = _assembly.GetManifestResourceStream(_prefix + file);
        return stream is not null;
    }

    public override long Length(string file)
    {
        using MappedFile mapped = Map(file);
        return mapped.Length;
    }

    public override string PathOf(string file) => $"{Name}/{file} (embedded)";

    public override unsafe byte[] Read(string file, long offset, int count)
    {
        using MappedFile mapped = Map(file);
        if (offset + count > mapped.Length)
        {
            throw new CheckpointException(PathOf(file), null, $"The file ends at byte {mapped.Length:N0}, expected {offset + count:N0}.");
        }

        return new ReadOnlySpan<byte>(mapped.Pointer + offset, count).ToArray();
    }

    public override MappedFile Map(string file) =>
        MappedFile.OpenResource(_assembly, _prefix + file) ?? throw new CheckpointException(PathOf(file), null, "The file is missing.");

    public override bool AreOnDrive => false;

    public override DirectFile OpenDirect(string file) => throw new NotSupportedException($"{PathOf(file)} is no file on a drive.");
}
