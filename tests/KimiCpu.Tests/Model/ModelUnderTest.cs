// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cuda;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Memory;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Model;

/// <summary>Which implementation of the two seams runs.</summary>
public enum Backend
{
    Reference,
    CpuExact,
    CpuFast,
    CpuInt8,

    /// <summary>
    /// The hot path and some of the experts on the GPU under test, the other experts on the CPU. A row's bits do not depend on its batch. Models that are
    /// open in one test share the GPU.
    /// </summary>
    Gpu,
}

/// <summary>A checkpoint opened on one backend, with the calls that model tests make.</summary>
internal sealed class ModelUnderTest : IDisposable
{
    private readonly Checkpoint _checkpoint;
    private readonly LoadedWeights _loaded;
    private readonly CpuBackend? _cpu;
    private readonly GpuUnderTest? _gpu;
    private readonly CudaBackend? _cuda;
    private readonly IHotPath _hotPath;
    private readonly IRoutedExperts _experts;

    /// <param name="folder">Of the checkpoint.</param>
    /// <param name="backend">What computes.</param>
    /// <param name="threads">Null for the default.</param>
    /// <param name="topology">A made-up machine.</param>
    /// <param name="slotBytes">Memory for experts that are read from the files; null for the mapping. Smaller than an expert stands for one.</param>
    /// <param name="store">How they are read.</param>
    /// <param name="wrap">Puts something between the store and the files.</param>
    /// <param name="lookAhead">Whether layers predict the experts of the next one.</param>
    public ModelUnderTest(
        string folder, Backend backend, int? threads = null, CpuTopology? topology = null, long? slotBytes = null, TieredStoreOptions? store = null, Func<IWeightFiles, IWeightFiles>? wrap = null, bool lookAhead = false)
    {
        _checkpoint = Checkpoint.Open(folder);
        _loaded = new LoadedWeights(_checkpoint, new ExpertMemoryPlan(slotBytes, "test"), wrap: wrap);
        Weights = _loaded.Model;
        if (backend == Backend.Reference)
        {
            foreach (WeightMatrix weight in Weights.Residence is null ? [] : Weights.HotMatrices)
            {
                Weights.Residence!.Hold(weight);
            }

            _hotPath = new ReferenceHotPath(Weights, lookAhead);
            _experts = new ReferenceExperts(Weights);
        }
        else
        {
            ComputePrecision precision = backend == Backend.CpuExact ? ComputePrecision.Exact : ComputePrecision.Fast;
            _cpu = new CpuBackend(Weights, new CpuBackendOptions
            {
                Precision = precision,
                Threads = threads,
                SimulatedTopology = topology,
                Int8HotPath = backend == Backend.CpuInt8,
                ExpertFiles = _loaded.ExpertFiles,
                Store = store ?? new TieredStoreOptions { Bytes = slotBytes ?? 0 },
                LookAhead = lookAhead,
                HotPathElsewhere = backend == Backend.Gpu,
            });
            if (backend == Backend.Gpu)
            {
                _gpu = new GpuUnderTest();
                _cuda = OpenGpu(_gpu, _loaded, lookAhead);
            }

            _hotPath = _cuda is null ? _cpu.HotPath : _cuda.HotPath;
            _experts = _cpu.Experts;
        }

        Forward = new ForwardPass(Weights, _hotPath, _experts);
        Cache = NewCache();
    }

    public ModelWeights Weights { get; }

    public ForwardPass Forward { get; }

    public KvCache Cache { get; }

    public IHotPath HotPath => _hotPath;

    public IRoutedExperts Experts => _experts;

    /// <summary>Of the GPU; null where it holds none.</summary>
    public HotExperts? ExpertsOnGpu => _cuda?.HotPath.Experts;

    /// <summary>Of the CPU backends with experts in files.</summary>
    public TieredExpertStore Store => (TieredExpertStore)_cpu!.Store;

    /// <summary>Of the CPU backends.</summary>
    public WorkerPool Pool => _cpu!.Pool;

    public int Vocabulary => Weights.Shape.VocabularySize;

    /// <summary>Another cache over the same pages, in which nothing is known.</summary>
    public KvCache NewCache() => new(_hotPath, _cuda?.Plan.CacheBytes ?? (1L << 30), Weights.Shape.MaxPositions);

    /// <summary>Logits of every position, (tokens, vocabulary), computed in chunks of the given sizes (the last one repeats).</summary>
    public float[] Logits(ReadOnlySpan<int> tokens, params int[] chunks)
    {
        using KvSequence sequence = Cache.CreateSequence();
        var logits = new float[tokens.Length * Vocabulary];
        int done = 0;
        for (int i = 0; done < tokens.Length; i++)
        {
            int chunk = chunks.Length == 0 ? tokens.Length : chunks[Math.Min(i, chunks.Length - 1)];
            chunk = Math.Min(chunk, tokens.Length - done);
            Step(sequence, tokens.Slice(done, chunk), logits.AsSpan(done * Vocabulary, chunk * Vocabulary));
            done += chunk;
        }

        return logits;
    }

    /// <summary>One forward pass of one sequence with logits of every new token.</summary>
    public void Step(KvSequence sequence, ReadOnlySpan<int> tokens, Span<float> logits)
    {
        Assert.That(sequence.TryExtend(tokens.Length));
        var batch = new RaggedBatch();
        batch.Add(tokens, sequence.Length, sequence.Pages, LogitsWanted.All);
        Forward.Run(batch, logits);
        sequence.Advance(tokens.Length);
        Assert.That(_gpu?.Fault, Is.Null);
    }

    /// <summary>Greedy continuation; the lowest id wins a tie.</summary>
    public int[] Greedy(ReadOnlySpan<int> tokens, int count)
    {
        using KvSequence sequence = Cache.CreateSequence();
        var logits = new float[tokens.Length * Vocabulary];
        Step(sequence, tokens, logits);
        var chosen = new int[count];
        ReadOnlySpan<float> last = logits.AsSpan(^Vocabulary..);
        for (int i = 0; i < count; i++)
        {
            chosen[i] = System.Numerics.Tensors.TensorPrimitives.IndexOfMax(last);
            var next = new float[Vocabulary];
            Step(sequence, [chosen[i]], next);
            last = next;
        }

        return chosen;
    }

    public void Dispose()
    {
        if (_cpu is null)
        {
            _experts.Dispose();
            _hotPath.Dispose();
        }

        _cpu?.Dispose();
        _cuda?.Dispose();
        _gpu?.Dispose();
        _loaded.Dispose();
        _checkpoint.Dispose();
    }

    private static CudaBackend OpenGpu(GpuUnderTest gpu, LoadedWeights weights, bool lookAhead) => new(
        gpu.Table,
        0,
        weights.Model,
        new MemoryWish(256, 512, CacheBytes: 8 << 20, ExpertBytes: 8 << 20, LookAhead: lookAhead),
        new CudaHotPathOptions { Placement = new EveryOtherExpert(weights.Model), ExpertFiles = weights.ExpertFiles, ManyRows = int.MaxValue });

    /// <summary>Nothing moves, since that changes bits.</summary>
    private sealed class EveryOtherExpert(ModelWeights weights) : IExpertPlacement
    {
        public IReadOnlyList<int> First(int count) =>
            [.. Enumerable.Range(0, weights.Layers.Length * weights.Shape.ExpertCount).Where(k => k % 2 == 0 && weights.Layers[k / weights.Shape.ExpertCount].IsMoe).Take(count)];

        public ExpertMove? Next(ReadOnlySpan<bool> held) => null;
    }
}
