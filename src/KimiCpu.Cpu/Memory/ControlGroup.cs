// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu;

/// <summary>A memory control group of Linux, of version 1 or 2.</summary>
internal sealed class ControlGroup
{
    private readonly string _folder;
    private readonly bool _isVersion2;

    private ControlGroup(string folder, bool isVersion2)
    {
        _folder = folder;
        _isVersion2 = isVersion2;
    }

    /// <summary>What its limit leaves, where cached file pages that have not been used lately count as free; null without a limit.</summary>
    public long? Available
    {
        get
        {
            long? limit = Number(_isVersion2 ? "memory.max" : "memory.limit_in_bytes");
            long? used = Number(_isVersion2 ? "memory.current" : "memory.usage_in_bytes");

            // Version 1 says "no limit" by the largest number of pages.
            return limit is { } l and < long.MaxValue / 2 && used is { } u ? Math.Max(0, l - u + Reclaimable()) : null;
        }
    }

    /// <summary>The group of this process and all around it, the innermost first.</summary>
    /// <param name="root">Holds <c>proc</c> and <c>sys</c>.</param>
    public static IEnumerable<ControlGroup> OfThisProcess(string root)
    {
        foreach (string line in AvailableMemory.Lines(Path.Combine(root, "proc/self/cgroup")))
        {
            // hierarchy:controllers:path
            string[] parts = line.Split(':', 3);
            if (parts.Length < 3)
            {
                continue;
            }

            bool version2 = parts[0] == "0" && parts[1].Length == 0;
            if ((version2 || parts[1].Split(',').Contains("memory")) && MountOf(root, version2) is { } mount)
            {
                foreach (string folder in FoldersUp(mount.Folder, Below(mount.Root, parts[2])))
                {
                    yield return new ControlGroup(folder, version2);
                }
            }
        }
    }

    /// <summary>Where the hierarchy is mounted, and which part of it that is.</summary>
    private static (string Folder, string Root)? MountOf(string root, bool version2)
    {
        foreach (string line in AvailableMemory.Lines(Path.Combine(root, "proc/self/mountinfo")))
        {
            // id parent device root mountpoint options … - type source superoptions
            string[] halves = line.Split(" - ", 2);
            string[] mount = halves[0].Split(' ');
            string[] kind = halves[^1].Split(' ');
            if (halves.Length == 2 && mount.Length > 4 && kind.Length > 2
                && (version2 ? kind[0] == "cgroup2" : kind[0] == "cgroup" && kind[2].Split(',').Contains("memory")))
            {
                return (Path.Combine(root, mount[4].TrimStart('/')), mount[3]);
            }
        }

        return null;
    }

    /// <summary>A container sees its own group as the mount's root, under a path that only its host knows.</summary>
    private static string Below(string mountRoot, string path)
    {
        string prefix = mountRoot.TrimEnd('/');
        return path.StartsWith(prefix, StringComparison.Ordinal) ? path[prefix.Length..] : "";
    }

    private static IEnumerable<string> FoldersUp(string mount, string path)
    {
        string[] names = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (int depth = names.Length; depth >= 0; depth--)
        {
            string folder = Path.Combine([mount, .. names[..depth]]);
            if (Directory.Exists(folder))
            {
                yield return folder;
            }
        }
    }

    private long Reclaimable()
    {
        string name = _isVersion2 ? "inactive_file " : "total_inactive_file ";
        foreach (string line in AvailableMemory.Lines(Path.Combine(_folder, "memory.stat")))
        {
            if (line.StartsWith(name, StringComparison.Ordinal) && long.TryParse(line.AsSpan(name.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long bytes))
            {
                return bytes;
            }
        }

        return 0;
    }

    private long? Number(string file) =>
        AvailableMemory.Lines(Path.Combine(_folder, file)) is [{ } line, ..] && long.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : null;
}
