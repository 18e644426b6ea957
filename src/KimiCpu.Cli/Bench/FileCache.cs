// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Cli.Bench;

/// <summary>Asks the system to forget what it has cached of files, so that a measurement begins cold. Only Linux can be asked.</summary>
internal static class FileCache
{
    /// <summary>Whether the files are on the drive alone now. What was written to them only just now is there first.</summary>
    public static bool TryDrop(string folder)
    {
        bool all = OperatingSystem.IsLinux();
        foreach (string path in Directory.GetFiles(folder))
        {
            using var handle = File.OpenHandle(path);
            if (all)
            {
                RandomAccess.FlushToDisk(handle);
            }

            all &= PageCache.TryForget(handle);
        }

        return all;
    }
}
