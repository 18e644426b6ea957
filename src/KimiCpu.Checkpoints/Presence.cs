// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Checkpoints;

/// <summary>
/// Whether something is at a path. <see cref="File.Exists(string)"/> and <see cref="Directory.Exists(string)"/> take for absent also what the system does not let be
/// looked at: all that is on a drive that has gone, or in a folder that is closed to this user.
/// </summary>
internal static class Presence
{
    /// <summary>The attributes of what is there, which may be a link that leads nowhere; null where nothing is.</summary>
    /// <exception cref="IOException">Nobody knows: the drive fails, say.</exception>
    /// <exception cref="UnauthorizedAccessException">Nobody knows: a folder on the way is closed to this user.</exception>
    public static FileAttributes? Of(string path)
    {
        try
        {
            return File.GetAttributes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException or PathTooLongException or ArgumentException || IsNoName(e))
        {
            // Where a name is longer than any may be, or is none, nothing is.
            return null;
        }
    }

    /// <summary>Those of what a path leads to, all links followed.</summary>
    /// <inheritdoc cref="Of(string)"/>
    public static FileAttributes? OfTarget(string path)
    {
        try
        {
            return Of(RealPath.Of(path));
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    /// <summary>Whether nothing is where a path leads to. What cannot be looked at may be there.</summary>
    public static bool IsMissing(string path)
    {
        try
        {
            return OfTarget(path) is null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>As Windows says it, of a path with a quotation mark, say.</summary>
    private static bool IsNoName(Exception e)
    {
        const int InvalidName = 123, BadPathName = 161, CodeBits = 0xFFFF;
        return OperatingSystem.IsWindows() && e is IOException && (e.HResult & CodeBits) is (InvalidName or BadPathName);
    }
}
