// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Tells which files lie on the same drive, as far as mount points show it.</summary>
internal static class Drives
{
    /// <summary>The mount point or drive letter that holds a file, or what a link points to.</summary>
    public static string Of(string path)
    {
        string target = Path.GetFullPath(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path);
        if (OperatingSystem.IsWindows())
        {
            return Path.GetPathRoot(target) ?? "";
        }

        return DriveInfo.GetDrives()
            .Select(d => d.Name)
            .Where(n => target.StartsWith(n.EndsWith('/') ? n : n + "/", StringComparison.Ordinal))
            .MaxBy(n => n.Length) ?? "/";
    }
}
