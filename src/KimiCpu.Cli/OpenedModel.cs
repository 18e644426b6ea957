// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Commands;
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
        : this(OpenCheckpoint(folder), options, store, route)
    {
    }

    /// <param name="checkpoint">Belongs to the model from here on.</param>
    /// <param name="options">How the CPU computes.</param>
    /// <param name="store">How experts are read; null for those of the mapping.</param>
    /// <param name="route">Puts something between the routers and the experts.</param>
    private OpenedModel(Checkpoint checkpoint, CpuBackendOptions options, TieredStoreOptions? store, Func<ModelWeights, IRoutedExperts, IRoutedExperts>? route)
    {
        Checkpoint = checkpoint;
        try
        {
            _loaded = new LoadedWeights(Checkpoint, new ExpertMemoryPlan(store?.Bytes, "as asked for"), guard: true);
            _cpu = new CpuBackend(Weights, options with { ExpertFiles = _loaded.ExpertFiles, Store = store });
        }
        catch (Exception e)
        {
            _loaded?.Dispose();
            Checkpoint.Dispose();
            if (e is OutOfMemoryException)
            {
                throw new KimiException(e.Message, e);
            }

            throw;
        }

        Forward = new ForwardPass(Weights, _cpu.HotPath, route?.Invoke(Weights, _cpu.Experts) ?? _cpu.Experts) { Verify = _loaded.ThrowIfFaulted };
    }

    /// <summary>A model whose experts are where <see cref="KimiModel.Open"/> would have them: where they are mapped if all fit into memory, else in slots.</summary>
    /// <param name="checkpoint">Belongs to the model from here on.</param>
    /// <param name="options">How the CPU computes.</param>
    /// <param name="expertMemory">Bytes of slots that the user asks for; null for what the machine allows.</param>
    /// <param name="context">Tokens that are to be cached.</param>
    /// <param name="chunk">Most tokens of a forward pass.</param>
    /// <param name="remedies">What of the command takes less memory, by whether copies in 8 bits do; see <see cref="ModelMemory.Remedies"/>.</param>
    /// <param name="available">What the process may take; null for what there is now.</param>
    /// <exception cref="KimiException">The model does not fit.</exception>
    public static OpenedModel Open(Checkpoint checkpoint, CpuBackendOptions options, long? expertMemory, int context, int chunk, Func<bool, string> remedies, ProcessMemory? available = null)
    {
        TieredStoreOptions? store;
        try
        {
            ProcessMemory memory = available ?? ProcessMemory.Now();
            var wanted = new KimiModelOptions { Threads = options.Threads, Exact = options.Precision == ComputePrecision.Exact, Int8HotPath = options.Int8HotPath, ExpertMemory = expertMemory, PrefillChunk = chunk };
            ModelShape shape = WeightLoader.ShapeOf(checkpoint.Config);
            long? slots = new ModelMemory(checkpoint, shape, wanted, Math.Min(context, shape.MaxPositions), memory) { Remedies = remedies }.Divide(onGpu: false).Experts.SlotBytes;
            store = slots is { } bytes ? new TieredStoreOptions { Bytes = bytes, Keeper = new MemoryKeeper(ExpertMemoryPlan.ReserveOf(memory.AvailableBytes), ProcessMemory.Now) } : null;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }

        return new OpenedModel(checkpoint, options, store, route: null);
    }

    /// <param name="folder">Null for the embedded model.</param>
    public static Checkpoint OpenCheckpoint(string? folder) => folder is null ? Checkpoint.Open(KimiModel.EmbeddedFiles) : Checkpoint.Open(folder);

    public Checkpoint Checkpoint { get; }

    public ModelWeights Weights => _loaded.Model;

    public WorkerPool Pool => _cpu.Pool;

    public CpuHotPath HotPath => _cpu.HotPath;

    /// <summary>Where experts are read from the files; null where they are mapped.</summary>
    public TieredExpertStore? Store => _cpu.Store as TieredExpertStore;

    /// <summary>Where the experts are, for people.</summary>
    public string ExpertPlace => Store is { } store
        ? string.Create(CultureInfo.InvariantCulture, $"{store.Slots:N0} slots for {Weights.Layers.Count(l => l.IsMoe) * (long)Weights.Shape.ExpertCount:N0} experts, {InspectCommand.Bytes(store.Slots * store.SlotBytes)}, the others from the drive")
        : "all weights in memory";

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
