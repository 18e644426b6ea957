// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.RegularExpressions;

/// <summary>A set of Unicode scalar values as ordered ranges that do not touch.</summary>
internal sealed class CodePointSet
{
    private readonly (int First, int Last)[] _ranges;

    public CodePointSet(IEnumerable<(int First, int Last)> ranges)
    {
        var merged = new List<(int First, int Last)>();
        foreach ((int first, int last) in ranges.SelectMany(WithoutSurrogates).Where(r => r.First <= r.Last).Order())
        {
            if (merged.Count > 0 && first <= merged[^1].Last + 1)
            {
                merged[^1] = (merged[^1].First, Math.Max(merged[^1].Last, last));
            }
            else
            {
                merged.Add((first, last));
            }
        }

        _ranges = [.. merged];
    }

    public static CodePointSet All { get; } = new([(0, 0x10FFFF)]);

    public IReadOnlyList<(int First, int Last)> Ranges => _ranges;

    public static CodePointSet Of(params int[] values) => new(values.Select(v => (v, v)));

    public CodePointSet Union(CodePointSet other) => new(_ranges.Concat(other._ranges));

    public CodePointSet Complement()
    {
        var gaps = new List<(int, int)>();
        int next = 0;
        foreach ((int first, int last) in _ranges)
        {
            gaps.Add((next, first - 1));
            next = last + 1;
        }

        gaps.Add((next, 0x10FFFF));
        return new CodePointSet(gaps);
    }

    public CodePointSet Except(CodePointSet other) => Complement().Union(other).Complement();

    public bool Contains(int value) => Array.Exists(_ranges, r => value >= r.First && value <= r.Last);

    private static IEnumerable<(int First, int Last)> WithoutSurrogates((int First, int Last) range) =>
        range.First > 0xDFFF || range.Last < 0xD800 ? [range] : [(range.First, Math.Min(range.Last, 0xD7FF)), (Math.Max(range.First, 0xE000), range.Last)];
}
