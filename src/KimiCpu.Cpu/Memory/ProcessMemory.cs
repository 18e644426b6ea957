// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu;

/// <summary>How much memory a process may still use, and what limits it.</summary>
/// <param name="AvailableBytes">Free, or held by caches that the system gives up on demand.</param>
/// <param name="TotalBytes">The machine's, or the limit where there is one.</param>
/// <param name="Limit">The control group that limits; null where the machine itself does.</param>
internal sealed record ProcessMemory(long AvailableBytes, long TotalBytes, string? Limit)
{
    /// <summary>As it is now.</summary>
    public static ProcessMemory Now()
    {
        if (OperatingSystem.IsLinux() && LinuxMemory.Read("/") is { } memory)
        {
            return memory;
        }

        GCMemoryInfo gc = GC.GetGCMemoryInfo();
        return new ProcessMemory(Math.Max(0, gc.TotalAvailableMemoryBytes - gc.MemoryLoadBytes), gc.TotalAvailableMemoryBytes, null);
    }
}

/// <summary>Linux: <c>/proc/meminfo</c> and the limits of the process's control groups, versions 1 and 2.</summary>
internal static class LinuxMemory
{
    /// <param name="root">In place of <c>/</c>.</param>
    /// <returns>Null where the system does not tell.</returns>
    public static ProcessMemory? Read(string root)
    {
        if (Lines(Path.Combine(root, "proc/meminfo")) is not { } lines || Kilobytes(lines, "MemTotal:") is not { } total)
        {
            return null;
        }

        long available = Kilobytes(lines, "MemAvailable:") ?? total;
        var memory = new ProcessMemory(available, total, null);
        foreach ((string folder, string limitFile, string usageFile, string cacheKey) in Groups(root))
        {
            if (Number(Path.Combine(folder, limitFile)) is not { } limit || limit >= total)
            {
                continue;
            }

            // Pages of files that are not in use count as used, but are given up before anyone is refused.
            long used = Number(Path.Combine(folder, usageFile)) ?? 0;
            long cache = CacheBytes(Path.Combine(folder, "memory.stat"), cacheKey);
            long left = Math.Min(memory.AvailableBytes, Math.Max(0, limit - Math.Max(0, used - cache)));
            if (left < memory.AvailableBytes || limit < memory.TotalBytes)
            {
                memory = new ProcessMemory(left, Math.Min(memory.TotalBytes, limit), "/" + Path.GetRelativePath(root, folder));
            }
        }

        return memory;
    }

    /// <summary>Every group from the process's own up to the root, since each of them limits.</summary>
    private static IEnumerable<(string Folder, string LimitFile, string UsageFile, string CacheKey)> Groups(string root)
    {
        foreach (string line in Lines(Path.Combine(root, "proc/self/cgroup")) ?? [])
        {
            // hierarchy:controllers:path
            string[] parts = line.Split(':', 3);
            if (parts.Length != 3)
            {
                continue;
            }

            bool unified = parts[0] == "0" && parts[1].Length == 0;
            if (!unified && !parts[1].Split(',').Contains("memory"))
            {
                continue;
            }

            foreach (string mount in unified ? new[] { "sys/fs/cgroup", "sys/fs/cgroup/unified" } : ["sys/fs/cgroup/memory"])
            {
                foreach (string folder in Upwards(Path.Combine(root, mount), parts[2]))
                {
                    yield return unified
                        ? (folder, "memory.max", "memory.current", "inactive_file")
                        : (folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
                }
            }
        }
    }

    /// <summary>In a container the path may be that of the host and not be there; its mount's root is then the group.</summary>
    private static IEnumerable<string> Upwards(string mount, string path)
    {
        for (string at = path.Trim('/'); at.Length > 0; at = Path.GetDirectoryName(at) ?? "")
        {
            if (!at.Contains("..", StringComparison.Ordinal))
            {
                yield return Path.Combine(mount, at);
            }
        }

        yield return mount;
    }

    private static long? Kilobytes(string[] lines, string key)
    {
        string? line = lines.FirstOrDefault(l => l.StartsWith(key, StringComparison.Ordinal));
        string? number = line?[key.Length..].Trim().Split(' ')[0];
        return long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long value) && value <= long.MaxValue / 1024 ? value * 1024 : null;
    }

    /// <summary>Null for a file that is missing or says <c>max</c>.</summary>
    private static long? Number(string path) =>
        Lines(path) is [{ } first, ..] && long.TryParse(first.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : null;

    private static long CacheBytes(string path, string key)
    {
        string? line = (Lines(path) ?? []).FirstOrDefault(l => l.StartsWith(key + " ", StringComparison.Ordinal));
        return long.TryParse(line?[(key.Length + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : 0;
    }

    private static string[]? Lines(string path)
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
}
