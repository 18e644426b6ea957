// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cli.Bench;

/// <summary>Asks the system to forget what it has cached of files, so that a measurement begins cold. Only Linux can be asked.</summary>
internal static partial class FileCache
{
    private const int DontNeed = 4;

    /// <summary>Whether the files are on the drive alone now.</summary>
    public static bool TryDrop(string folder)
    {
        if (!OperatingSystem.IsLinux())
        {
            return false;
        }

        bool all = true;
        foreach (string path in Directory.GetFiles(folder))
        {
            using var handle = File.OpenHandle(path);
            all &= Advise((int)handle.DangerousGetHandle(), 0, 0, DontNeed) == 0;
        }

        return all;
    }

    [LibraryImport("libc", EntryPoint = "posix_fadvise")]
    private static partial int Advise(int file, nint offset, nint length, int advice);
}
