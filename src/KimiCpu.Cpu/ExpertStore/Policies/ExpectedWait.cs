// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// The expert whose next use is expected last gives way. Layers run one after another, so an expert of a layer that comes
/// soon is worth more than an equally popular one of a layer that has just passed: by up to one step, to which are added the
/// steps that its decayed frequency lets expect. Matters where slots are few; least recently used, in contrast, evicts
/// what a cyclic scan needs next.
/// </summary>
/// <param name="counts">How often experts are used.</param>
/// <param name="layers">Of the model.</param>
/// <param name="expertsPerLayer">Keys of a layer.</param>
internal sealed class ExpectedWait(UseCounts counts, int layers, int expertsPerLayer) : IEvictionPolicy
{
    /// <summary>Uses that every expert is credited with, so that one without any has a finite wait.</summary>
    private const double Prior = 1e-3;

    private int _layer;

    public string Name => "wait";

    public void BeginStep() => counts.BeginStep();

    public void BeginLayer(int layer) => _layer = layer;

    public void Use(int key) => counts.Use(key);

    public double Priority(int key)
    {
        int ahead = (key / expertsPerLayer) - _layer;
        double partOfStep = (double)(ahead > 0 ? ahead : ahead + layers) / layers;
        double steps = (counts.Most + Prior) / (counts.Count(key) + Prior);
        return -(partOfStep + steps);
    }
}
