// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Tests.Cuda;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>Where a whole model runs.</summary>
public enum ModelDevice
{
    Cpu,

    /// <summary>The GPU under test; see <see cref="GpuUnderTest"/>.</summary>
    Gpu,

    /// <summary>The same with weights and cache in 8 bits, for a context that no GPU holds otherwise.</summary>
    GpuInt8,
}

/// <summary>
/// The smallest model with all that the engine has above it, opened as often as a test wants on one device. Steps have few rows, so that a row's bits
/// do not depend on its batch there, and no routed expert is on the GPU, since one that moved would change bits.
/// </summary>
internal sealed class SmallModel(ModelDevice device) : IDisposable
{
    private const int LongContext = 1 << 30;

    private readonly SyntheticModel _checkpoint = new(change: json => json["max_position_embeddings"] = device == ModelDevice.GpuInt8 ? LongContext : json["max_position_embeddings"]!.GetValue<int>());
    private readonly GpuUnderTest? _gpu = device == ModelDevice.Cpu ? null : new GpuUnderTest();

    public KimiModel Open(KimiModelOptions? options = null)
    {
        options ??= new KimiModelOptions();

        // The first model on a GPU would take all of its memory for the cache.
        options = options with { PrefillChunk = 16, RememberExperts = false, Threads = 1, KvCacheBytes = options.KvCacheBytes ?? (1 << 20) };
        if (_gpu is null)
        {
            return KimiModel.Open(_checkpoint.Folder, options);
        }

        // Weights alone are not reduced for a context that KvCacheBytes does not hold.
        options = options with
        {
            Device = KimiDevice.Cuda(),
            CudaDriver = _gpu.Table,
            GpuExpertBytes = 0,
            Int8HotPath = device == ModelDevice.GpuInt8,
            ContextLength = device == ModelDevice.GpuInt8 ? LongContext : null,
        };
        KimiModel model = KimiModel.Open(_checkpoint.Folder, options);
        Assert.That(model.Placement, Does.Contain(device == ModelDevice.GpuInt8 ? "all weights in 8 bits" : "all weights as stored").And.Contain(device == ModelDevice.GpuInt8 ? "8-bit cache of" : "BF16 cache of"));
        return model;
    }

    public void Dispose()
    {
        string? fault = _gpu?.Fault;
        int? left = _gpu?.Simulated?.LiveObjects;
        _gpu?.Dispose();
        _checkpoint.Dispose();
        Assert.That(fault, Is.Null);
        Assert.That(left, Is.Null.Or.Zero);
    }
}
