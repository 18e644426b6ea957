// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// Frequency and recency: a slowly decaying count, halved once more for every <c>halfLife</c> steps since the last use. An
/// expert that many texts use survives a pause; one that is never asked for again goes, however popular it was.
/// </summary>
/// <param name="counts">With a long half-life.</param>
/// <param name="halfLife">Steps without a use that weigh as much as half of the uses.</param>
internal sealed class FrequencyAndRecency(UseCounts counts, double halfLife) : IEvictionPolicy
{
    private readonly double[] _lastUse = new double[counts.Keys];
    private long _step;

    public string Name => "hybrid";

    public void BeginStep()
    {
        _step++;
        counts.BeginStep();
    }

    public void BeginLayer(int layer)
    {
    }

    public void Use(int key)
    {
        counts.Use(key);
        _lastUse[key] = _step / halfLife;
    }

    public double Priority(int key) => counts.Rank(key) + _lastUse[key];
}
