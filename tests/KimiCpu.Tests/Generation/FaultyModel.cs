// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute.Reference;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>A tiny model whose hot path fails as a test wants it.</summary>
internal sealed class FaultyModel : IDisposable
{
    private readonly ModelUnderTest _model = new(Repository.Checkpoint("tiny-int4"), Backend.Reference);
    private readonly ReferenceExperts _experts;

    public FaultyModel()
    {
        _experts = new ReferenceExperts(_model.Weights);
        HotPath = new FaultyHotPath(_model.HotPath);
    }

    public FaultyHotPath HotPath { get; }

    public ForwardPass Forward => new(_model.Weights, HotPath, _experts);

    /// <summary>With a cache of its own.</summary>
    public GenerationEngine Engine(int prefillChunk = 16) => Engines.Make(Forward, new KvCache(HotPath, 1 << 26, 200), prefillChunk, new FakeMemory());

    public void Dispose()
    {
        _experts.Dispose();
        HotPath.Dispose();
        _model.Dispose();
    }
}
