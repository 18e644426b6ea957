// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Weights;

namespace KimiCpu.Cli;

/// <summary>A checkpoint with its forward pass and nothing above it, for measuring and verifying; needs no tokenizer.</summary>
internal sealed class OpenedModel : IDisposable
{
    private readonly LoadedWeights _loaded;
    private readonly CpuBackend _cpu;

    /// <param name="folder">Null for the embedded model.</param>
    /// <param name="options">How the CPU computes.</param>
    /// <param name="store">How experts are read; null for those of the mapping.</param>
    /// <param name="route">Puts something between the routers and the experts.</param>
    public OpenedModel(string? folder, CpuBackendOptions options, TieredStoreOptions? store = null, Func<ModelWeights, IRoutedExperts, IRoutedExperts>? route = null)
    {
        Checkpoint = folder is null ? Checkpoint.Open(KimiModel.EmbeddedFiles) : Checkpoint.Open(folder);
        try
        {
            _loaded = new LoadedWeights(Checkpoint, new ExpertMemoryPlan(store?.Bytes, "as asked for"));
            _cpu = new CpuBackend(Weights, options with { ExpertFiles = _loaded.ExpertFiles, Store = store });
        }
        catch (Exception e)
        {
            _loaded?.Dispose();
            Checkpoint.Dispose();
            if (e is InsufficientMemoryException)
            {
                throw new KimiException(e.Message, e);
            }

            throw;
        }

        Forward = new ForwardPass(Weights, _cpu.HotPath, route?.Invoke(Weights, _cpu.Experts) ?? _cpu.Experts);
    }

    public Checkpoint Checkpoint { get; }

    public ModelWeights Weights => _loaded.Model;

    public WorkerPool Pool => _cpu.Pool;

    public CpuHotPath HotPath => _cpu.HotPath;

    /// <summary>Where experts are read from the files; null where they are mapped.</summary>
    public TieredExpertStore? Store => _cpu.Store as TieredExpertStore;

    /// <summary>Bytes that a token reads less since the hot path is copied to 8 bits; 0 where it is not.</summary>
    public long SavedBytes => _cpu.ReplacedBytes - _cpu.CopiedBytes;

    public ForwardPass Forward { get; }

    public void Dispose()
    {
        _cpu.Dispose();
        _loaded.Dispose();
        Checkpoint.Dispose();
    }
}
