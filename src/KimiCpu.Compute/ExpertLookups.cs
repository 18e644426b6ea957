// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>Where experts were when steps needed them. Those that several tokens of a step need count once; all are zero where every expert is in memory.</summary>
/// <param name="Hits">They were there.</param>
/// <param name="Late">They were already being read.</param>
/// <param name="Misses">They had to be read.</param>
internal readonly record struct ExpertLookups(long Hits, long Late, long Misses)
{
    public long All => Hits + Late + Misses;

    public static ExpertLookups operator +(ExpertLookups one, ExpertLookups other) => new(one.Hits + other.Hits, one.Late + other.Late, one.Misses + other.Misses);

    public static ExpertLookups operator -(ExpertLookups one, ExpertLookups other) => new(one.Hits - other.Hits, one.Late - other.Late, one.Misses - other.Misses);
}
