// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

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
internal sealed class FileSystemDrive : ITargetDrive
{
    public long FreeBytes(string folder) => new DriveInfo(folder).AvailableFreeSpace;

    public Stream Create(string path, long bytes) => new FileStream(
        path, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 0, PreallocationSize = bytes });
}
