// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;

namespace KimiCpu.Cli.Bench;

/// <summary>One measured part.</summary>
/// <param name="Name">What was measured.</param>
/// <param name="TokensPerSecond">Median of the repetitions.</param>
/// <param name="BytesPerToken">Weights and cache that a token reads; 0 where that is not the bound.</param>
/// <param name="BytesPerSecond">Their product; 0 where that is not the bound.</param>
/// <param name="Bandwidth">Read bandwidth around the part, bytes per second.</param>
internal sealed record BenchResult(string Name, double TokensPerSecond, double BytesPerToken, double BytesPerSecond, double Bandwidth)
{
    public double Ratio => BytesPerSecond / Bandwidth;
}

/// <summary>Prefill and decode of a model with random tokens, each beside the memory's bandwidth measured right around it.</summary>
internal sealed class ModelBench : IDisposable
{
    private const int Repetitions = 3;

    /// <summary>Tokens behind which decoding is measured.</summary>
    private const int DecodePrompt = 16;

    /// <summary>The runtime compiles what runs often anew while it runs.</summary>
    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(1.5);

    private readonly OpenedModel _model;
    private readonly MemoryBandwidthProbe _probe;
    private readonly CheckpointSummary _summary;
    private readonly Random _random = new(1);

    /// <param name="checkpoint">Belongs to the bench from here on.</param>
    /// <param name="options">How the CPU computes.</param>
    /// <param name="prefills">Lengths of prompts.</param>
    /// <param name="decoded">Tokens behind a short one; 0 for none.</param>
    /// <param name="available">What the process may take; null for what there is now.</param>
    /// <exception cref="KimiException">The model does not fit.</exception>
    public ModelBench(Checkpoint checkpoint, CpuBackendOptions options, IReadOnlyCollection<int> prefills, int decoded, ProcessMemory? available = null)
    {
        int longest = Math.Max(DecodePrompt, prefills.DefaultIfEmpty().Max());
        int context = (int)Math.Max(longest, Math.Min((long)DecodePrompt + decoded, int.MaxValue));
        _model = OpenedModel.Open(checkpoint, options, expertMemory: null, context, longest, copiesHelp => copiesHelp ? "A shorter --prefill or --decode, or --int8-hot-path," : "A shorter --prefill or --decode", available);
        try
        {
            _probe = MemoryBandwidthProbe.Large(_model.Pool);
        }
        catch
        {
            _model.Dispose();
            throw;
        }

        _summary = CheckpointSummary.Of(_model.Checkpoint);
    }

    public int Threads => _model.Pool.Threads;

    /// <summary>Where the experts are, for people.</summary>
    public string ExpertPlace => _model.ExpertPlace;

    /// <summary>Where <c>kimi chat</c> with so short a context reads them from drives, this does too; null where they are mapped.</summary>
    public TieredExpertStore? Store => _model.Store;

    /// <param name="prefills">Lengths of prompts.</param>
    /// <param name="decoded">Tokens behind a short one.</param>
    /// <param name="context">Tokens that the model has room for.</param>
    /// <exception cref="FormatException">The context has no room for one of them.</exception>
    public static void RequireRoom(IEnumerable<int> prefills, int decoded, int context)
    {
        foreach (int tokens in prefills)
        {
            Require("--prefill", tokens, 0);
        }

        if (decoded > 0)
        {
            Require("--decode", decoded, DecodePrompt);
        }

        void Require(string option, int tokens, int before)
        {
            int most = context - before;
            if (tokens > most)
            {
                throw new FormatException($"{option} takes at most {most} with this model, whose context that is{(before > 0 ? $" behind a prompt of {before}" : "")}; found {tokens}.");
            }
        }
    }

    /// <summary>Reads a prompt of so many tokens in one pass.</summary>
    public BenchResult Prefill(int tokens, CancellationToken cancellationToken)
    {
        WarmUp(() => Pass(tokens, 0, cancellationToken), cancellationToken);
        (double seconds, double bandwidth) = Repeat(() => Time(() => Pass(tokens, 0, cancellationToken)), cancellationToken);
        return new BenchResult($"prefill {tokens}", tokens / seconds, 0, 0, bandwidth);
    }

    /// <summary>Generates so many tokens one after another behind a short prompt.</summary>
    public BenchResult Decode(int tokens, CancellationToken cancellationToken)
    {
        WarmUp(() => Pass(DecodePrompt, 8, cancellationToken), cancellationToken);
        (double seconds, double bandwidth) = Repeat(() => Pass(DecodePrompt, tokens, cancellationToken), cancellationToken);
        double rate = tokens / seconds;
        double cached = (DecodePrompt + (tokens / 2.0)) * _summary.CacheBytesPerToken;
        double bytes = _summary.BytesPerToken - _model.SavedBytes + cached;
        return new BenchResult($"decode {tokens}", rate, bytes, bytes * rate, bandwidth);
    }

    public void Dispose()
    {
        _probe.Dispose();
        _model.Dispose();
    }

    private static void WarmUp(Action part, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        do
        {
            cancellationToken.ThrowIfCancellationRequested();
            part();
        }
        while (Stopwatch.GetElapsedTime(start) < s_warmUp);
    }

    private static double Time(Action part)
    {
        long start = Stopwatch.GetTimestamp();
        part();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <param name="part">Gives the seconds that count.</param>
    /// <param name="cancellationToken">Ends it between two of them.</param>
    /// <returns>The median of the seconds.</returns>
    private (double Seconds, double Bandwidth) Repeat(Func<double> part, CancellationToken cancellationToken)
    {
        var seconds = new double[Repetitions];
        double before = _probe.Measure();
        for (int i = 0; i < Repetitions; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            seconds[i] = part();
        }

        Array.Sort(seconds);
        return (seconds[Repetitions / 2], (before + _probe.Measure()) / 2);
    }

    /// <summary>A new sequence: a prompt in one pass, then tokens one by one; the seconds of the latter.</summary>
    private double Pass(int prompt, int decoded, CancellationToken cancellationToken)
    {
        ModelShape shape = _model.Weights.Shape;
        var cache = new KvCache(_model.HotPath, long.MaxValue, shape.MaxPositions);
        using KvSequence sequence = cache.CreateSequence();
        var logits = new float[shape.VocabularySize];
        Step(sequence, prompt, logits, cancellationToken);
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < decoded; i++)
        {
            Step(sequence, 1, logits, cancellationToken);
        }

        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private void Step(KvSequence sequence, int tokens, float[] logits, CancellationToken cancellationToken)
    {
        int[] ids = [.. Enumerable.Range(0, tokens).Select(_ => _random.Next(logits.Length))];
        sequence.Extend(tokens);
        var batch = new RaggedBatch();
        batch.Add(ids, sequence.Length, sequence.Pages, LogitsWanted.Last);
        _model.Forward.Run(batch, logits, cancellationToken);
        sequence.Advance(tokens);
    }
}
