// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;

namespace KimiCpu.Cuda;

/// <summary>A model's GPU side: the context and the hot path. Owns both.</summary>
internal sealed class CudaBackend : IDisposable
{
    private readonly CudaContext _context;

    /// <param name="driver">The driver's functions.</param>
    /// <param name="ordinal">Which GPU.</param>
    /// <param name="weights">Of the model.</param>
    /// <param name="wish">What is wanted of its memory.</param>
    /// <param name="options">How the hot path runs.</param>
    /// <exception cref="CudaException">There is no such GPU, it is too old, or the model does not suit or fit it.</exception>
    public CudaBackend(in DriverTable driver, int ordinal, ModelWeights weights, MemoryWish wish, CudaHotPathOptions options)
    {
        if (KernelSet.Objection(weights.Shape) is { } objection)
        {
            throw new CudaException($"The GPU's kernels do not suit this model: {objection}. Run it on the CPU.");
        }

        _context = new CudaContext(driver, ordinal, options.Patience);
        try
        {
            Plan = MemoryPlan.Fit(weights, wish, _context.MemoryInfo().Free);
            HotPath = new CudaHotPath(_context, weights, Plan, options);
        }
        catch
        {
            _context.Dispose();
            throw;
        }
    }

    public CudaHotPath HotPath { get; }

    public MemoryPlan Plan { get; }

    public int Ordinal => _context.Ordinal;

    /// <summary>The GPU in few words.</summary>
    public string Name => $"GPU {_context.Ordinal} ({_context.Name})";

    /// <summary>The GPU, for a user.</summary>
    public string Description =>
        $"GPU {_context.Ordinal}: {_context.Name}, compute capability {_context.ComputeCapability.Major}.{_context.ComputeCapability.Minor}, CUDA {CudaContext.VersionText(_context.DriverVersion)}";

    /// <summary>After a call that failed; see <see cref="CudaHotPath.Settle"/>.</summary>
    public bool Settle() => HotPath.Settle();

    public void Dispose()
    {
        HotPath.Dispose();
        _context.Dispose();
    }
}
