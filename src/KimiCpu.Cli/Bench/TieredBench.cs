// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Routing;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Planning;

namespace KimiCpu.Cli.Bench;

/// <summary>Decoding with experts in one amount of memory.</summary>
/// <param name="SlotBytes">Memory for experts; null for the mapping and the system's page cache.</param>
/// <param name="ResidentShare">Of all experts; for the mapping what the limit would hold.</param>
/// <param name="TokensPerSecond">Over all measured tokens.</param>
/// <param name="HitRate">Experts that were there when a step needed them; NaN for the mapping.</param>
/// <param name="MissedBytes">Of experts that were not, for each token.</param>
/// <param name="ReadBytes">From the drive for each token, look-ahead included.</param>
/// <param name="PromptSeconds">For a prompt in one pass, read at last; NaN for none.</param>
/// <param name="Drive">What large random reads bring, measured before and after, in bytes per second.</param>
internal sealed record TieredResult(long? SlotBytes, double ResidentShare, double TokensPerSecond, double HitRate, double MissedBytes, double ReadBytes, double PromptSeconds, double Drive)
{
    /// <summary>Tokens per second if nothing but the missing bytes took time.</summary>
    public double Bound => Drive / MissedBytes;

    public double ShareOfBound => TokensPerSecond / Bound;
}

/// <summary>Decodes a checkpoint that is larger than memory: from slots of several sizes, and from its mapping.</summary>
/// <param name="folder">Of the checkpoint.</param>
/// <param name="options">How it is measured.</param>
/// <param name="sizes">Of slots that are to be measured, in bytes: one that cannot be is told before the first of them is, which takes minutes.</param>
/// <param name="cancellationToken">Ends it between tokens.</param>
internal sealed class TieredBench(string folder, TieredBenchOptions options, IReadOnlyList<long> sizes, CancellationToken cancellationToken)
{
    /// <summary>For the cache of tokens, activations and the runtime.</summary>
    private const long SpareBytes = 300_000_000;

    private static readonly TimeSpan s_probe = TimeSpan.FromSeconds(2);

    /// <summary>Before the first run all sizes are looked at; what another process takes later is no reason to lose what has been measured.</summary>
    private bool _isChecked;

    /// <summary>The last run from slots.</summary>
    public StoreTimeline? Timeline { get; private set; }

    /// <param name="slotBytes">Null for the mapping.</param>
    /// <param name="memory">What all experts together have to share, for the mapping.</param>
    public TieredResult Measure(long? slotBytes, long memory)
    {
        FileCache.TryDrop(folder);
        TieredStoreOptions? store = slotBytes is { } bytes
            ? new TieredStoreOptions { Bytes = bytes, ReadsOfDrive = options.Reads, PieceBytes = options.PieceBytes, LookAhead = options.Recall > 0, Policy = (layers, experts) => EvictionPolicies.Make(options.Policy, layers, experts) }
            : null;
        using var model = new OpenedModel(folder, options.Cpu, store, options.RoutingSkew is null ? null : Impose);
        if (model.Store is { } opened)
        {
            ThrowIfTooSmall(sizes.Min(), opened.SlotBytes);
        }

        ThrowIfTooLarge(slotBytes is not { } own ? 0 : _isChecked ? own : sizes.Max());
        _isChecked = true;
        double before = ProbeDrive();
        var run = new DecodeRun(model, options.Seed, cancellationToken);
        run.Decode(options.WarmUp);
        long read = model.Store?.DriveBytesRead ?? 0;
        (long hits, long missing) = Count(model.Store);
        Timeline = model.Store is { } tiered ? new StoreTimeline(tiered) : Timeline;
        double seconds = run.Decode(options.Tokens);
        if (model.Store is not null)
        {
            Timeline!.Stop();
        }

        long readAfter = model.Store?.DriveBytesRead ?? 0;

        long all = model.Weights.Layers.Sum(l => (long)l.Experts.Length);
        long expertBytes = model.Weights.Layers.First(l => l.IsMoe).Experts[0].TotalBytes;
        (long hitsAfter, long missingAfter) = Count(model.Store);
        double prompt = options.PromptTokens > 0 ? run.Read(options.PromptTokens) : double.NaN;
        double drive = (before + ProbeDrive()) / 2;
        double resident = slotBytes is null ? (double)memory / (all * expertBytes) : (double)model.Store!.Slots / all;
        return new TieredResult(
            slotBytes,
            Math.Min(1, resident),
            options.Tokens / seconds,
            slotBytes is null ? double.NaN : (double)(hitsAfter - hits) / (hitsAfter - hits + missingAfter - missing),
            slotBytes is null ? double.NaN : (double)(missingAfter - missing) * expertBytes / options.Tokens,
            slotBytes is null ? double.NaN : (double)(readAfter - read) / options.Tokens,
            prompt,
            drive);
    }

    private static void ThrowIfTooSmall(long slotBytes, long expertBytes)
    {
        if (slotBytes < expertBytes)
        {
            throw new ArgumentException($"--expert-memory {InspectCommand.Bytes(slotBytes)} holds no expert: one takes {InspectCommand.Bytes(expertBytes)}.");
        }
    }

    /// <summary>The slots are taken as they are filled, and a control group kills who takes too much.</summary>
    private static void ThrowIfTooLarge(long slotBytes)
    {
        ProcessMemory memory = ProcessMemory.Now();
        if (slotBytes > memory.AvailableBytes - SpareBytes)
        {
            throw new ArgumentException(
                $"--expert-memory {InspectCommand.Bytes(slotBytes)} does not fit: of {InspectCommand.Bytes(memory.TotalBytes)}, {InspectCommand.Bytes(memory.AvailableBytes)} are left beside what every token needs, and {InspectCommand.Bytes(SpareBytes)} have to stay free. Ask for less, or raise --memory-limit.");
        }
    }

    private static (long Hits, long Missing) Count(TieredExpertStore? store) => store is null ? (0, 0) : (store.Counters.Hits, store.Counters.Misses + store.Counters.Late);

    private ImposedRouting Impose(ModelWeights weights, IRoutedExperts inner)
    {
        int[] moe = [.. Enumerable.Range(0, weights.Layers.Length).Where(l => weights.Layers[l].IsMoe)];
        var header = new RoutingTraceHeader
        {
            Model = 0,
            ModelName = "",
            Source = "",
            LayerCount = weights.Layers.Length,
            ExpertCount = weights.Shape.ExpertCount,
            ExpertsPerToken = weights.Shape.ExpertsPerToken,
            ExpertBytes = weights.Layers[moe[0]].Experts[0].TotalBytes,
            MoeLayers = moe,
            HasPredictions = true,
        };
        return new ImposedRouting(inner, new SyntheticRouting(header, options.RoutingSkew!.Value, locality: 0, options.Recall, (ulong)options.Seed), header);
    }

    private double ProbeDrive() =>
        DriveBandwidthProbe.Measure([.. Directory.GetFiles(folder, "*.safetensors")], s_probe, cancellationToken)?.BytesPerSecond ?? double.NaN;

    /// <summary>Random tokens one after another.</summary>
    private sealed class DecodeRun(OpenedModel model, int seed, CancellationToken cancellationToken)
    {
        private readonly Random _random = new(seed);
        private readonly KvSequence _sequence = new KvCache(model.HotPath, long.MaxValue, model.Weights.Shape.MaxPositions).CreateSequence();
        private readonly float[] _logits = new float[model.Weights.Shape.VocabularySize];

        public double Decode(int tokens)
        {
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < tokens; i++)
            {
                Run(1);
            }

            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        /// <summary>So many tokens in one pass.</summary>
        public double Read(int tokens)
        {
            long start = Stopwatch.GetTimestamp();
            Run(tokens);
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        private void Run(int tokens)
        {
            _sequence.Extend(tokens);
            var batch = new RaggedBatch();
            batch.Add([.. Enumerable.Range(0, tokens).Select(_ => _random.Next(_logits.Length))], _sequence.Length, _sequence.Pages, LogitsWanted.Last);
            model.Forward.Run(batch, _logits, cancellationToken);
            _sequence.Advance(tokens);
        }
    }
}

/// <summary>How a <see cref="TieredBench"/> measures.</summary>
internal sealed record TieredBenchOptions
{
    public required CpuBackendOptions Cpu { get; init; }

    public required string Policy { get; init; }

    /// <summary>Tokens before the measurement, which fill the slots.</summary>
    public required int WarmUp { get; init; }

    public required int Tokens { get; init; }

    /// <summary>Of a prompt that is read in one pass after the measurement, at most what the backend takes; 0 for none.</summary>
    public required int PromptTokens { get; init; }

    /// <summary>Reads in flight.</summary>
    public required int Reads { get; init; }

    public required int PieceBytes { get; init; }

    /// <summary>Zipf exponent of the choice of experts, 0 for a flat one; null for what the model's own routers choose.</summary>
    public double? RoutingSkew { get; init; }

    /// <summary>Part of a layer's experts that look-ahead predicts where the routing is imposed; 0 switches look-ahead off.</summary>
    public required double Recall { get; init; }

    public int Seed { get; init; } = 1;
}
