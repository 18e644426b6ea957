// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Where a path leads to.</summary>
internal static class RealPath
{
    /// <summary>Absolute, all links on the way followed; of a link that leads nowhere, where it is itself.</summary>
    public static string Of(string path)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (Path.GetDirectoryName(full) is not { } parent)
        {
            return full;
        }

        var entry = new DirectoryInfo(Path.Combine(Of(parent), Path.GetFileName(full)));
        try
        {
            return entry.LinkTarget is not null && entry.ResolveLinkTarget(returnFinalTarget: true) is { } target ? Of(target.FullName) : entry.FullName;
        }
        catch (IOException)
        {
            return entry.FullName;
        }
    }
}
