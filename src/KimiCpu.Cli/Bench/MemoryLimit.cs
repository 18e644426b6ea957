// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cli.Bench;

/// <summary>
/// Holds this process, its page cache included, to a number of bytes, by a control group of its own at the root of the
/// hierarchy (version 1 or 2, where the user may make one). Disposing moves the process to the root and removes the group.
/// </summary>
internal sealed class MemoryLimit : IDisposable
{
    private readonly string _parent;
    private readonly string _group;

    private MemoryLimit(string parent, string group)
    {
        _parent = parent;
        _group = group;
    }

    /// <summary>Null where the machine has no memory controller that this user may use.</summary>
    public static MemoryLimit? TrySet(long bytes) =>
        TrySet("/sys/fs/cgroup/memory", "memory.limit_in_bytes", bytes) ?? TrySet("/sys/fs/cgroup", "memory.max", bytes);

    /// <summary>Gives the group's cached file pages back to the system, so that what follows begins cold.</summary>
    public void DropCache()
    {
        try
        {
            if (File.Exists(Path.Combine(_group, "memory.force_empty")))
            {
                File.WriteAllText(Path.Combine(_group, "memory.force_empty"), "0");
            }
        }
        catch (IOException)
        {
            // Busy pages stay.
        }
    }

    public void Dispose()
    {
        try
        {
            Enter(_parent);
            Directory.Delete(_group);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The group goes with the machine's next start.
        }
    }

    private static MemoryLimit? TrySet(string root, string file, long bytes)
    {
        string group = Path.Combine(root, $"kimi-bench-{Environment.ProcessId}");
        try
        {
            if (!Directory.Exists(root))
            {
                return null;
            }

            Directory.CreateDirectory(group);
            if (!File.Exists(Path.Combine(group, file)))
            {
                Directory.Delete(group);
                return null;
            }

            File.WriteAllText(Path.Combine(group, file), bytes.ToString(CultureInfo.InvariantCulture));
            Enter(group);
            return new MemoryLimit(root, group);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Remove(group);
            return null;
        }
    }

    private static void Remove(string group)
    {
        try
        {
            Directory.Delete(group);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It was not made, or goes with the machine's next start.
        }
    }

    private static void Enter(string group) => File.WriteAllText(Path.Combine(group, "cgroup.procs"), Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
}
