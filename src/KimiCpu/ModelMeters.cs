// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace KimiCpu;

/// <summary>Instruments that are asked what open models do. Safe for all threads.</summary>
internal sealed class ModelMeters
{
    private readonly ConcurrentDictionary<IKimiModel, string> _open = new(ReferenceEqualityComparer.Instance);

    /// <param name="meter">Gets the instruments.</param>
    public ModelMeters(Meter meter)
    {
        meter.CreateObservableUpDownCounter("kimicpu.requests.running", () => Each(a => a.RunningCalls), "{request}", "Calls that share the model's steps.");
        meter.CreateObservableUpDownCounter("kimicpu.requests.waiting", () => Each(a => a.WaitingCalls), "{request}", "Calls that wait.");
        meter.CreateObservableUpDownCounter(
            "kimicpu.cache.pages",
            () => Each(a => a.UsedCachePages, "used").Concat(Each(a => a.ReusableCachePages, "reusable")).Concat(Each(a => a.CachePages - a.UsedCachePages - a.ReusableCachePages, "free")),
            "{page}",
            "Pages of the cache budget.");
    }

    /// <param name="model">Open.</param>
    public void Add(IKimiModel model) => _open[model] = model.Info.Name;

    public void Remove(IKimiModel model) => _open.TryRemove(model, out _);

    /// <summary>One measurement for each name: of several with the same attributes listeners keep any one.</summary>
    private IEnumerable<Measurement<long>> Each(Func<KimiModelActivity, long> value, string? state = null) => _open.GroupBy(entry => entry.Value).Select(models =>
    {
        long sum = models.Sum(entry => value(entry.Key.Activity));
        var model = new KeyValuePair<string, object?>("gen_ai.request.model", models.Key);
        return state is null
            ? new Measurement<long>(sum, model)
            : new Measurement<long>(sum, model, new KeyValuePair<string, object?>("kimicpu.cache.state", state));
    });
}
