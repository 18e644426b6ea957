// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute.Reference;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>A tiny model whose passes and layers a test looks at, or lets fail.</summary>
internal sealed class ObservedModel : IDisposable
{
    private const int UsualChunk = 16;

    private readonly ModelUnderTest _model = new(Repository.Checkpoint("tiny-int4"), Backend.Reference);
    private readonly ReferenceExperts _experts;

    /// <param name="pages">Of the cache; a context of 200 tokens has four at most.</param>
    public ObservedModel(int pages = 100)
    {
        _experts = new ReferenceExperts(_model.Weights);
        HotPath = new ObservedHotPath(_model.HotPath);
        Cache = new KvCache(HotPath, pages * HotPath.BytesPerPage, 200);
    }

    public ObservedHotPath HotPath { get; }

    public KvCache Cache { get; }

    public int LayerCount => _model.Weights.Shape.LayerCount;

    public GenerationEngine Engine(int prefillChunk = UsualChunk) => Engines.Make(Forward(), Cache, prefillChunk, new FakeMemory());

    /// <param name="scheduler">Over <see cref="Cache"/>.</param>
    public GenerationEngine Engine(Scheduler scheduler) => new(new ModelRunner(Forward(), Cache, "", UsualChunk), scheduler, new FakeMemory());

    public void Dispose()
    {
        _experts.Dispose();
        HotPath.Dispose();
        _model.Dispose();
    }

    private ForwardPass Forward() => new(_model.Weights, HotPath, _experts);
}
