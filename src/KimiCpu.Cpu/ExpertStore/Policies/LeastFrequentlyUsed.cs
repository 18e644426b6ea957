// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// The expert with the smallest decayed count gives way. A short half-life makes it forget like <see cref="LeastRecentlyUsed"/>,
/// a long one makes it remember what a text long ago needed.
/// </summary>
internal sealed class LeastFrequentlyUsed(UseCounts counts) : IEvictionPolicy
{
    public string Name => "lfu";

    public void BeginStep() => counts.BeginStep();

    public void BeginLayer(int layer)
    {
    }

    public void Use(int key) => counts.Use(key);

    public double Priority(int key) => counts.Rank(key);
}
