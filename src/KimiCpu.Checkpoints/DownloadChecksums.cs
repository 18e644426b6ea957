// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Checkpoints;

/// <summary>
/// The SHA-256 of a download's files as <c>hf download</c> leaves them: in a note beside them where it was given a folder, in the names of the blobs that links lead to in
/// the hub's cache. Small files, which the hub keeps in git, have none.
/// </summary>
internal sealed class DownloadChecksums
{
    private const int HexDigits = 64;
    private const string Blobs = "blobs";

    /// <summary>Three short lines.</summary>
    private const int MostBytesOfNote = 4096;

    /// <summary>As many as Linux follows in a path.</summary>
    private const int MostLinks = 40;

    private static readonly string s_notes = Path.Combine(".cache", "huggingface", "download");

    private DownloadChecksums(IReadOnlyDictionary<string, string> known, IReadOnlyList<string> unknown, bool areNoted)
    {
        Known = known;
        Unknown = unknown;
        AreNoted = areNoted;
    }

    /// <summary>Lower-case hexadecimal digits by the file's name.</summary>
    public IReadOnlyDictionary<string, string> Known { get; }

    /// <summary>Files of the folder of which none is known.</summary>
    public IReadOnlyList<string> Unknown { get; }

    /// <summary>Whether notes of the download lie in the folder, which is no part of a hub's cache then.</summary>
    public bool AreNoted { get; }

    /// <summary>Those of a folder's files, of hidden ones and inner folders none.</summary>
    /// <param name="folder">The checkpoint.</param>
    /// <exception cref="CheckpointException">There is no folder, or it may not be listed.</exception>
    public static DownloadChecksums Of(string folder)
    {
        var files = new FolderCheckpointFiles(folder);
        var known = new SortedDictionary<string, string>(StringComparer.Ordinal);
        List<string> unknown = [];
        foreach (string file in Names(folder))
        {
            if (OfNote(Path.Combine(folder, s_notes, file + ".metadata")) is { } noted)
            {
                known.Add(file, noted);
            }
            else if (OfBlob(files.PathOf(file)) is { } named)
            {
                known.Add(file, named);
            }
            else
            {
                unknown.Add(file);
            }
        }

        return new DownloadChecksums(known, unknown, Directory.Exists(Path.Combine(folder, s_notes)));
    }

    private static string[] Names(string folder)
    {
        try
        {
            return [.. new DirectoryInfo(folder).EnumerateFiles().Select(f => f.Name).Where(n => !n.StartsWith('.')).Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CheckpointException.Unreadable(folder, e);
        }
    }

    /// <summary>A commit, what the hub calls the file's content, and when that was noted. What is no such note, or cannot be read, says nothing, as it does to <c>hf</c>.</summary>
    private static string? OfNote(string path)
    {
        try
        {
            var note = new FileInfo(path);
            if (!note.Exists || note.Length > MostBytesOfNote)
            {
                return null;
            }

            string[] lines = File.ReadAllLines(path);
            return lines.Length >= 3 && double.TryParse(lines[2].Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out _) ? Checksum(lines[1].Trim()) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The cache's file may be a link itself, to another drive.</summary>
    private static string? OfBlob(string path)
    {
        try
        {
            for (int links = 0; links < MostLinks && new FileInfo(path).LinkTarget is { } target; links++)
            {
                // Links lead on from where they really are.
                path = Path.GetFullPath(target, RealPath.Of(Path.GetDirectoryName(path)!));
                if (Path.GetFileName(Path.GetDirectoryName(path)) == Blobs && Checksum(Path.GetFileName(path)) is { } named)
                {
                    return named;
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Whoever reads the file says what is wrong with it.
        }

        return null;
    }

    /// <summary>Git's own, of small files, have 40 digits.</summary>
    private static string? Checksum(string text) => text.Length == HexDigits && text.All(char.IsAsciiHexDigit) ? text.ToLowerInvariant() : null;
}
