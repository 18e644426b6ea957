// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>Engines below a model, for tests that look at their steps.</summary>
internal static class Engines
{
    public static GenerationEngine Make(ForwardPass forward, KvCache cache, int prefillChunk, IMemoryMeter memory, SchedulingOptions? options = null) =>
        new(new ModelRunner(forward, cache, "", prefillChunk), new Scheduler(cache, prefillChunk, options ?? new SchedulingOptions(), TimeProvider.System), memory);
}
