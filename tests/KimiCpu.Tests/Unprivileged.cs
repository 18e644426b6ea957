// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace KimiCpu.Tests;

/// <summary>Tests of folders that are closed to this user, also where this user is root, as in most containers.</summary>
internal static partial class Unprivileged
{
    /// <summary>Of a folder in which everybody may read; those of tests are closed to others.</summary>
    public const UnixFileMode Everybody =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    /// <summary>By convention the owner of no files at all.</summary>
    private const int Nobody = 65534;

    /// <summary>
    /// Does something that must find a folder closed, as a user who may do no more than others. On Linux root becomes one for it as far as files
    /// go, on this thread alone: it must not go on in another one, nor begin one, which would stay so. Skips the test where that cannot be.
    /// </summary>
    /// <param name="closed">A folder that is closed to its owner.</param>
    /// <param name="act">Reads files and folders that everybody may read.</param>
    [UnsupportedOSPlatform("windows")]
    public static void Run(string closed, Action act)
    {
        if (Environment.IsPrivilegedProcess && !OperatingSystem.IsLinux())
        {
            Assert.Ignore("This user may read every folder.");
        }

        int before = Environment.IsPrivilegedProcess ? SetFileUser(Nobody) : -1;
        try
        {
            if (MayList(closed))
            {
                Assert.Ignore("This user may read every folder.");
            }

            act();
        }
        finally
        {
            if (before >= 0)
            {
                _ = SetFileUser(before);
            }
        }
    }

    private static bool MayList(string folder)
    {
        try
        {
            _ = Directory.EnumerateFileSystemEntries(folder).Any();
            return true;
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "setfsuid")]
    private static partial int SetFileUser(int user);
}
