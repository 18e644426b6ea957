// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Model;
using KimiCpu.Weights;

namespace KimiCpu;

/// <summary>What an opening model takes of the machine's memory, decided from headers, before weights are read.</summary>
internal sealed class ModelMemory
{
    internal const int UsualChunk = 256;
    private const int LargestChunk = 4096;

    /// <summary>Tokens of a step for each expert from which on multiplying takes longer than reading the weights, or nearly so, on most machines.</summary>
    private const int TokensOfExpert = 20;

    private readonly Checkpoint _checkpoint;
    private readonly CheckpointSummary _summary;
    private readonly ModelShape _shape;
    private readonly KimiModelOptions _options;
    private readonly int _context;
    private readonly StepWorkspace _workspace;
    private readonly long _unused;
    private readonly long? _unpromised;

    /// <param name="checkpoint">Its headers.</param>
    /// <param name="shape">Of its model.</param>
    /// <param name="options">What the user asks for.</param>
    /// <param name="context">Most tokens of a call.</param>
    /// <param name="memory">What the process may still take.</param>
    /// <exception cref="CheckpointException">A tensor is missing or does not match the configuration.</exception>
    public ModelMemory(Checkpoint checkpoint, ModelShape shape, KimiModelOptions options, int context, ProcessMemory memory)
    {
        (_checkpoint, _shape, _options, _context) = (checkpoint, shape, options, context);
        Available = memory.AvailableBytes;
        (_unused, _unpromised) = (memory.UnusedBytes, memory.UnpromisedBytes);
        _summary = CheckpointSummary.Of(checkpoint);
        _workspace = new StepWorkspace(shape, options.Threads ?? CpuTopology.OfThisProcess.DefaultThreads, options.Exact);
        LargePrefillChunk = options.PrefillChunk ?? LargeChunk(Available, _workspace);
    }

    /// <summary>Bytes that the process could take when the model was opened.</summary>
    public long Available { get; }

    /// <summary>Most prompt tokens of a step where reading experts takes long however many tokens they have.</summary>
    public int LargePrefillChunk { get; }

    /// <summary>What takes less memory, for people, with "helps" to follow, by whether copies in 8 bits do; null for what <see cref="KimiModelOptions"/> has for it.</summary>
    public Func<bool, string>? Remedies { get; init; }

    /// <param name="onGpu">Whether a GPU has the cache and what every token needs, all but the embedding.</param>
    /// <exception cref="KimiException">The model does not fit.</exception>
    public MemoryShares Divide(bool onGpu)
    {
        long hot = HotPathBytes(onGpu);
        long experts = _summary.Components.Where(c => c.Component == Component.RoutedExperts).Sum(c => c.Bytes);
        long bytesPerToken = (long)_shape.CacheWidth * _shape.LayerCount * (_options.Exact ? sizeof(float) : sizeof(ushort));
        long oneContext = Math.Min(Available / 4, (long)KvCache.PagesFor(_context) * KvPage.Tokens * bytesPerToken);

        // As much as there is, or more, asks for no share of it: it is no limit.
        long? cache = _options.KvCacheBytes < Available ? _options.KvCacheBytes : null;
        long cacheAndActivations = (onGpu ? 0 : cache ?? oneContext) + _workspace.Bytes(LargePrefillChunk);
        var needs = new MemoryNeeds(experts, hot, cacheAndActivations, Available, Remedies?.Invoke(CopiesHelp) ?? SmallerOptions(onGpu))
        {
            Unused = _unused,
            Promised = cacheAndActivations + CopiedBytes(onGpu),
            PromisedInVain = PromisedInVain(onGpu),
        };
        ExpertMemoryPlan plan = WhyMapped(experts) is { } reason
            ? new ExpertMemoryPlan(null, reason + (_options.ExpertMemory is null ? "" : ", so that KimiModelOptions.ExpertMemory says nothing"))
            : ExpertMemoryPlan.Choose(needs, _options.ExpertMemory);
        bool mapped = plan.SlotBytes is null;
        return new MemoryShares
        {
            Experts = plan,
            RoomForExperts = ExpertMemoryPlan.RoomOf(needs),
            CacheBytes = mapped ? _options.KvCacheBytes ?? CacheBesideAll(experts, oneContext) : cache ?? oneContext,
            PrefillChunk = mapped ? _options.PrefillChunk ?? ChunkInMemory(_shape.ExpertCount, _shape.ExpertsPerToken, LargePrefillChunk) : LargePrefillChunk,
            GpuPrefillChunk = mapped ? _options.PrefillChunk ?? UsualChunk : LargePrefillChunk,
        };
    }

    /// <summary>
    /// Cache of a CPU beside experts that all stay in memory: what they leave, no more than a quarter of what the process may take. Mapped weights are what the
    /// system drops first, so that any more would send the experts back to the drive, one page at a time.
    /// </summary>
    private long CacheBesideAll(long experts, long oneContext)
    {
        long left = _unused - experts - HotPathBytes(onGpu: false) - _workspace.Bytes(LargePrefillChunk) - ExpertMemoryPlan.ReserveOf(_unused);
        return Math.Max(oneContext, Math.Min(left, Available / 4));
    }

    private long HotPathBytes(bool onGpu) => (long)HotPathMemory.Parts(_summary, _checkpoint.Config, CopiesHotPath, onGpu).Sum(p => p.Bytes);

    /// <summary>8-bit copies of weights that every token needs.</summary>
    private long CopiedBytes(bool onGpu) => HotPathBytes(onGpu) - (_summary.Components.Where(c => c.Component != Component.RoutedExperts).Sum(c => c.Bytes) - LetGo(onGpu));

    private long LetGo(bool onGpu) => (long)HotPathMemory.LetGo(_summary, _checkpoint.Config, CopiesHotPath, onGpu);

    private long PromisedInVain(bool onGpu)
    {
        long letGo = LetGo(onGpu);
        return _unpromised is { } unpromised ? Math.Max(0, Available - (unpromised - letGo)) : 0;
    }

    /// <summary>Whether <see cref="KimiModelOptions.Int8HotPath"/>, which is not set, would take less of this memory.</summary>
    private bool CopiesHelp => !_options.Int8HotPath && !_options.Exact && HotPathMemory.CopiesHelp(_summary, _checkpoint.Config, _unpromised is { } unpromised ? unpromised - Available : double.PositiveInfinity);

    private bool CopiesHotPath => _options.Int8HotPath && !_options.Exact;

    private string SmallerOptions(bool onGpu) =>
        onGpu || _options.PrefillChunk > LargestChunk ? "A smaller KimiModelOptions.PrefillChunk"
        : !CopiesHelp ? "A smaller KimiModelOptions.KvCacheBytes or ContextLength"
        : "A smaller KimiModelOptions.KvCacheBytes or ContextLength, or KimiModelOptions.Int8HotPath,";

    /// <summary>Why nothing is read into slots, whatever fits; null where it may be.</summary>
    /// <param name="experts">Bytes of all.</param>
    private string? WhyMapped(long experts) => !_checkpoint.Files.AreOnDrive ? "the checkpoint is part of an assembly" : experts == 0 ? "the model has no routed experts" : null;

    /// <summary>Most prompt tokens of a step where experts come from a drive, or pass through a GPU.</summary>
    internal static int LargeChunk(long available, StepWorkspace workspace) => Math.Clamp(workspace.MostTokens(available / 16), UsualChunk, LargestChunk);

    /// <summary>Most prompt tokens of a step on the CPU where all experts are in memory: a step reads most of them however few tokens it takes in.</summary>
    /// <param name="experts">Of a layer; 0 for none.</param>
    /// <param name="expertsPerToken">That a token chooses.</param>
    /// <param name="large">Most that memory allows.</param>
    internal static int ChunkInMemory(int experts, int expertsPerToken, int large) =>
        experts == 0 ? UsualChunk : Math.Clamp(TokensOfExpert * experts / expertsPerToken, UsualChunk, large);
}
