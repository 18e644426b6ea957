// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>Linux: folders of the control groups, versions 1 and 2, that this process is in.</summary>
internal static class LinuxGroups
{
    /// <summary>Every group from the process's own up to the root, since each of them limits.</summary>
    /// <param name="root">In place of <c>/</c>.</param>
    /// <param name="controller">Of version 1, where each has groups of its own; those of version 2 have them all.</param>
    public static IEnumerable<(string Folder, bool IsVersion2)> Of(string root, string controller)
    {
        foreach (string line in LinuxText.Lines(Path.Combine(root, "proc/self/cgroup")) ?? [])
        {
            // hierarchy:controllers:path
            string[] parts = line.Split(':', 3);
            if (parts.Length != 3)
            {
                continue;
            }

            bool unified = parts[0] == "0" && parts[1].Length == 0;
            if (!unified && !parts[1].Split(',').Contains(controller))
            {
                continue;
            }

            // Controllers that share groups are mounted under their common name, to which that of each is a link only as a rule.
            IEnumerable<string> mounts = unified ? ["", "unified"] : new[] { controller, parts[1] }.Distinct();
            foreach (string mount in mounts)
            {
                foreach (string folder in Upwards(Path.Combine(root, "sys/fs/cgroup", mount), parts[2]))
                {
                    yield return (folder, unified);
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
}
