// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Where a path leads to.</summary>
internal static class RealPath
{
    /// <summary>As many as Linux follows in a path.</summary>
    private const int MostLinks = 40;

    /// <summary>Absolute, all links on the way followed; of a link that leads nowhere, where it is itself.</summary>
    public static string Of(string path) => Of(path, MostLinks);

    /// <summary>What a link leads to, in the link's words, where not even the folder of that is there; null for all else.</summary>
    public static string? TargetWithoutFolder(string path)
    {
        if (path.Length == 0 || new FileInfo(path).LinkTarget is not { } target || Path.GetDirectoryName(Path.GetFullPath(path)) is not { } folder)
        {
            return null;
        }

        // Links lead on from where they really are.
        return Path.GetDirectoryName(Path.GetFullPath(target, Of(folder))) is { } next && !Directory.Exists(next) ? target : null;
    }

    private static string Of(string path, int links)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (Path.GetDirectoryName(full) is not { } parent)
        {
            return full;
        }

        var entry = new DirectoryInfo(Path.Combine(Of(parent, links), Path.GetFileName(full)));
        try
        {
            // A link may lead below itself, which its own target does not show.
            return links > 0 && entry.LinkTarget is not null && entry.ResolveLinkTarget(returnFinalTarget: true) is { } target ? Of(target.FullName, links - 1) : entry.FullName;
        }
        catch (IOException)
        {
            return entry.FullName;
        }
    }
}
