// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Checkpoints;

/// <summary>What a repack asks of the drive that it writes to.</summary>
internal interface ITargetDrive
{
    /// <summary>Bytes that may still be written to the drive of an existing folder.</summary>
    long FreeBytes(string folder);

    /// <summary>Creates a file, replacing one that is there.</summary>
    /// <param name="path">Of the file.</param>
    /// <param name="bytes">That will be written; the drive is asked for them at once where it can be.</param>
    Stream Create(string path, long bytes);
}

/// <summary>A folder of the file system.</summary>
internal sealed partial class FileSystemDrive : ITargetDrive
{
    public long FreeBytes(string folder)
    {
        if (!OperatingSystem.IsWindows())
        {
            return new DriveInfo(folder).AvailableFreeSpace;
        }

        // DriveInfo knows letters only there: it refuses shares, and takes a volume that lies in a folder for the one around it.
        return GetDiskFreeSpace(RepackFolder.Inside(folder), out long available, 0, 0)
            ? available
            : throw new IOException($"The free space at '{folder}' could not be found out: {Marshal.GetLastPInvokeErrorMessage()} Check the drive and the permissions.");
    }

    public Stream Create(string path, long bytes) => new FileStream(
        path, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 0, PreallocationSize = bytes });

    [LibraryImport("kernel32", EntryPoint = "GetDiskFreeSpaceExW", StringMarshalling = StringMarshalling.Utf16, SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool GetDiskFreeSpace(string folder, out long available, nint total, nint free);
}
