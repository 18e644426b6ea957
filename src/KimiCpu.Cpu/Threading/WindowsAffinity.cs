// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>What Windows says of the processors that a process may use.</summary>
/// <param name="Mask">Its mask within a single group; 0 where that is not known or not one group's.</param>
/// <param name="Groups">Its groups; none where that is not known.</param>
/// <param name="SpansGroups">Whether a process that nobody restricts has all groups. Before Windows 11 each has one, though its threads may be tied to others.</param>
internal sealed record WindowsAffinity(ulong Mask, IReadOnlyList<int> Groups, bool SpansGroups)
{
    /// <summary>The processors that are left; of a machine with one group those of the mask.</summary>
    public List<LogicalProcessor> Restrict(List<LogicalProcessor> all)
    {
        int[] known = [.. all.Select(p => p.Group).Distinct()];
        int[] own = known.Length == 1 ? known : [.. known.Intersect(Groups)];
        return own.Length switch
        {
            0 => all,
            1 when SpansGroups || known.Length == 1 || LeavesSomeOut(all, own[0]) => [.. all.Where(p => p.Group == own[0] && IsInMask(p))],
            _ => SpansGroups ? [.. all.Where(p => own.Contains(p.Group))] : all,
        };
    }

    private bool LeavesSomeOut(List<LogicalProcessor> all, int group) => all.Any(p => p.Group == group && !IsInMask(p));

    private bool IsInMask(LogicalProcessor processor) => Mask == 0 || (Mask >> (processor.Id % WindowsTopology.GroupSize) & 1) != 0;
}
