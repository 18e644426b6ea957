// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Checkpoints;

/// <summary>The system's copies of files in memory. Only Linux can be asked about them.</summary>
internal static partial class PageCache
{
    private const int DontNeed = 4;

    /// <summary>Asks the system to forget what it has cached of a file; what is not on the drive yet stays.</summary>
    /// <returns>Whether it agreed.</returns>
    public static bool TryForget(SafeFileHandle file) => OperatingSystem.IsLinux() && Advise((int)file.DangerousGetHandle(), 0, 0, DontNeed) == 0;

    [LibraryImport("libc", EntryPoint = "posix_fadvise")]
    private static partial int Advise(int file, nint offset, nint length, int advice);
}
