// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KimiCpu.Checkpoints;

/// <summary>Moves a file that has reached the drive so that the move has, too. Without that a power cut might bring back what was there before.</summary>
internal static partial class LastingMove
{
    private const int ReadOnly = 0;

    /// <param name="from">The file.</param>
    /// <param name="to">Its place in the same folder; what is there is replaced.</param>
    public static void Move(string from, string to)
    {
        if (OperatingSystem.IsWindows())
        {
            // Its file system's journal has to do.
            MomentaryUse.Outlast(() => File.Move(from, to, overwrite: true));
            return;
        }

        File.Move(from, to, overwrite: true);
        FlushFolder(Path.GetDirectoryName(Path.GetFullPath(to))!);
    }

    /// <summary>Where the system lets it: the file is in its place and whole in any case.</summary>
    private static void FlushFolder(string folder)
    {
        using var handle = new SafeFileHandle(Open(folder, ReadOnly), ownsHandle: true);
        if (handle.IsInvalid)
        {
            return;
        }

        try
        {
            RandomAccess.FlushToDisk(handle);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            // Some file systems know of no such thing.
        }
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);
}
