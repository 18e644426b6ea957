// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text;

namespace KimiCpu.Checkpoints;

/// <summary>Which drive a file lies on, as the system names it.</summary>
internal static partial class DriveNames
{
    // struct statfs of macOS: sizes, counts, kinds and the type's name of 16 bytes, f_mntonname, f_mntfromname, 32 bytes more.
    private const int PointAt = 88;
    private const int PointBytes = 1024;
    private const int StatfsBytes = PointAt + (2 * PointBytes) + 32;

    /// <summary>The drive or mounted file system of an existing file, links followed.</summary>
    public static string Of(string file)
    {
        string path = RealPath.Of(file);
        string? name = OperatingSystem.IsLinux() ? (ReadMounts("/proc/self/mounts") is { } mounts ? DeviceOf(path, mounts) : null)
            : OperatingSystem.IsWindows() ? VolumeOf(path)
            : OperatingSystem.IsMacOS() ? MacPointOf(path) : null;
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

    /// <param name="statfs">What macOS fills for a file, a <c>struct statfs</c> with inodes of 64 bits.</param>
    /// <returns>Where the file's own file system is mounted; null where that is not said.</returns>
    public static string? PointOf(ReadOnlySpan<byte> statfs)
    {
        ReadOnlySpan<byte> point = statfs.Slice(PointAt, PointBytes);
        int end = point.IndexOf((byte)0);
        return end > 0 ? Encoding.UTF8.GetString(point[..end]) : null;
    }

    /// <summary>Of the file alone: a list of all mount points would wait for each of them, also for a share whose server is gone.</summary>
    private static unsafe string? MacPointOf(string path)
    {
        byte[] result = new byte[StatfsBytes];
        fixed (byte* target = result)
        {
            int code = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? StatfsX64(path, target) : Statfs(path, target);
            return code == 0 ? PointOf(result) : null;
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

    [LibraryImport("libc", EntryPoint = "statfs", StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int Statfs(string path, byte* result);

    /// <summary>On x64 the other name fills the structure of inodes of 32 bits.</summary>
    [LibraryImport("libc", EntryPoint = "statfs$INODE64", StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int StatfsX64(string path, byte* result);
}
