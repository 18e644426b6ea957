// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Which folders a checkpoint may be repacked into.</summary>
internal static class RepackFolder
{
    /// <summary>Throws unless the target is new, empty, or holds the journal of a repack.</summary>
    /// <exception cref="ArgumentException">The target is no place for it.</exception>
    public static void Check(string source, string target)
    {
        string from = RealPath.Of(source);
        string to = RealPath.Of(target);
        StringComparison comparison = OperatingSystem.IsLinux() ? StringComparison.Ordinal : StringComparison.OrdinalIgnoreCase;
        if (string.Equals(from, to, comparison))
        {
            throw new ArgumentException($"'{target}' is the source itself; give another folder.");
        }

        if (to.StartsWith(Inside(from), comparison))
        {
            throw new ArgumentException($"'{target}' lies inside the source, which is never written to; give a folder elsewhere.");
        }

        if (File.Exists(to))
        {
            throw new ArgumentException($"'{target}' is a file; give a folder.");
        }

        if (Directory.Exists(to) && !File.Exists(Path.Combine(to, RepackManifest.File)) && Directory.EnumerateFileSystemEntries(to).Any(e => !IsNobodys(Path.GetFileName(e))))
        {
            throw new ArgumentException($"'{target}' is not empty and holds no {RepackManifest.File} of an earlier run; give an empty or a new folder.");
        }
    }

    /// <summary>What the paths of all that a folder holds begin with. That of a drive's root ends with a separator by itself.</summary>
    public static string Inside(string folder) => Path.EndsInDirectorySeparator(folder) ? folder : folder + Path.DirectorySeparatorChar;

    /// <summary>What a run that was killed has left of its first journal, and what is in the root of a new drive on Linux.</summary>
    private static bool IsNobodys(string name) => name == "lost+found" || RepackManifest.IsBesideJournal(name);
}
