// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Checkpoints;

/// <summary>Which drive a file lies on, as the system names it.</summary>
internal static partial class DriveNames
{
    /// <summary>The drive or mounted file system of an existing file, links followed.</summary>
    public static string Of(string file)
    {
        string path = RealPath.Of(file);
        string? name = OperatingSystem.IsLinux() ? (ReadMounts("/proc/self/mounts") is { } mounts ? DeviceOf(path, mounts) : null)
            : OperatingSystem.IsWindows() ? VolumeOf(path)
            : PointOf(path, MountPoints());
        return name ?? Path.GetPathRoot(path) ?? path;
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

            // A later mount at the same point hides an earlier one.
            if (Holds(point, path) && point.Length >= (best?.Point.Length ?? 0))
            {
                best = (Unescape(fields[0]), point);
            }
        }

        return best?.Device;
    }

    /// <param name="path">Absolute.</param>
    /// <param name="points">Where file systems are mounted; on macOS, where every path begins with <c>/</c>, other drives are below <c>/Volumes</c>.</param>
    /// <returns>The innermost one that holds the path; null for none.</returns>
    public static string? PointOf(string path, IEnumerable<string> points) => points.Where(p => Holds(p, path)).MaxBy(p => p.Length);

    /// <summary>Mount points of the system; none where it does not tell.</summary>
    public static IEnumerable<string> MountPoints()
    {
        try
        {
            return DriveInfo.GetDrives().Select(d => d.Name);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static bool Holds(string point, string path) => point == "/" || path == point || path.StartsWith(point + "/", StringComparison.Ordinal);

    /// <summary>A volume may be mounted in a folder of another one, without a letter.</summary>
    private static string? VolumeOf(string path)
    {
        const int ShortPath = 260;
        Span<char> volume = new char[Math.Max(ShortPath, path.Length + 2)];
        return GetVolumePathName(path, volume, volume.Length) ? new string(volume[..volume.IndexOf('\0')]) : null;
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

    [LibraryImport("kernel32", EntryPoint = "GetVolumePathNameW", StringMarshalling = StringMarshalling.Utf16)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool GetVolumePathName(string path, Span<char> volume, int length);
}
