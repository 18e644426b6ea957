// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>The expert whose last use is longest ago gives way.</summary>
internal sealed class LeastRecentlyUsed(int keys) : IEvictionPolicy
{
    private readonly long[] _lastUse = new long[keys];
    private long _uses;

    public string Name => "lru";

    public void BeginStep()
    {
    }

    public void BeginLayer(int layer)
    {
    }

    public void Use(int key) => _lastUse[key] = ++_uses;

    public double Priority(int key) => _lastUse[key];
}
