// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu.Threading;

/// <summary>
/// Linux: the processors' worth of time that control groups leave a process. .NET's count of processors has the quota of the process's own group in it and
/// no other's: not that of a user's slice around a session's scope, or of a container around a service of its systemd, which hold the process back all the same.
/// </summary>
internal static class LinuxQuota
{
    /// <param name="root">In place of <c>/</c>.</param>
    /// <param name="count">What .NET counts.</param>
    /// <param name="wanted">What the user wants it to count; null for what there is.</param>
    public static double Read(string root, int count, string? wanted)
    {
        // As for .NET, that stands in place of all quotas. What .NET cannot read is as if it were not there, for it and here.
        bool isUsers = int.TryParse(wanted, NumberStyles.Integer, CultureInfo.InvariantCulture, out int number) && number == count;
        return isUsers ? count : Math.Min(count, OfGroups(root) ?? count);
    }

    /// <summary>The least of all groups; null where none has a quota.</summary>
    private static double? OfGroups(string root) =>
        LinuxGroups.Of(root, "cpu").Min(group => group.IsVersion2 ? OfVersion2(group.Folder) : OfVersion1(group.Folder));

    /// <summary><c>QUOTA PERIOD</c> in microseconds, or <c>max PERIOD</c>.</summary>
    private static double? OfVersion2(string folder) =>
        LinuxText.FirstLine(Path.Combine(folder, "cpu.max"))?.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [{ } quota, { } period]
            ? Processors(Number(quota), Number(period))
            : null;

    /// <summary>The quota is -1 where there is none.</summary>
    private static double? OfVersion1(string folder) =>
        Processors(LinuxText.Number(Path.Combine(folder, "cpu.cfs_quota_us")), LinuxText.Number(Path.Combine(folder, "cpu.cfs_period_us")));

    private static double? Processors(long? quota, long? period) => quota is > 0 && period is > 0 ? (double)quota / period : null;

    private static long? Number(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : null;
}
