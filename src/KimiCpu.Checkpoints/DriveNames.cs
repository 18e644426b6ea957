// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>Which drive a file lies on, as the system names it.</summary>
internal static class DriveNames
{
    /// <summary>The drive or mounted file system of an existing file, links followed.</summary>
    public static string Of(string file)
    {
        string path = RealPath.Of(file);
        return OperatingSystem.IsLinux() && ReadMounts("/proc/self/mounts") is { } mounts && DeviceOf(path, mounts) is { } device
            ? device
            : Path.GetPathRoot(path) ?? path;
    }

    /// <param name="path">Absolute.</param>
    /// <param name="mounts">Lines of <c>/proc/self/mounts</c>: device, mount point, and more.</param>
    /// <returns>Null where no mount point holds the path.</returns>
    public static string? DeviceOf(string path, IEnumerable<string> mounts)
    {
        (string Device, string Point)? best = null;
        foreach (string line in mounts)
        {
            string[] fields = line.Split(' ');
            if (fields.Length < 2)
            {
                continue;
            }

            string point = Unescape(fields[1]);
            bool holds = point == "/" || path == point || path.StartsWith(point + "/", StringComparison.Ordinal);

            // A later mount at the same point hides an earlier one.
            if (holds && point.Length >= (best?.Point.Length ?? 0))
            {
                best = (Unescape(fields[0]), point);
            }
        }

        return best?.Device;
    }

    private static string[]? ReadMounts(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Blanks stand as octal numbers there.</summary>
    private static string Unescape(string field) => field.Replace("\\040", " ", StringComparison.Ordinal).Replace("\\011", "\t", StringComparison.Ordinal);
}
