// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cuda;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Model;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>A model on the simulated GPU.</summary>
internal sealed class GpuModel : IDisposable
{
    private readonly Checkpoint _checkpoint;
    private readonly GpuUnderTest _driver;
    private readonly CudaBackend _backend;

    public GpuModel(GpuUnderTest driver, string folder, bool useGraphs = true, TimeSpan? patience = null, int contextTokens = 512, int manyRows = LinearProgram.DefaultManyRows, IExpertPlacement? placement = null, long? expertBytes = 0, bool lookAhead = false, ExpertFiles? expertFiles = null, IStreamSplit? split = null, bool smallCache = false, bool smallWeights = false, int expandedTokens = ExpandedAttention.BlockTokens, int? expandedRows = null, bool driverCollects = false, long? cacheBytes = null, Func<long>? systemBytes = null, int? fewestRows = null, int readRows = 0, TimeSpan? drivePatience = null, Action<int, int>? expertProgress = null)
    {
        _driver = driver;
        _checkpoint = Checkpoint.Open(folder);
        Weights = WeightLoader.Load(_checkpoint);
        try
        {
            _backend = new CudaBackend(driver.Table, 0, Weights, new MemoryWish(80, contextTokens, smallCache, cacheBytes, ExpertBytes: expertBytes, StreamExperts: split is not null, SmallWeights: smallWeights, LookAhead: lookAhead, ExpandedTokens: expandedTokens, ExpandedRows: expandedRows, FewestRows: fewestRows, ReadRows: readRows), new CudaHotPathOptions { Warn = Warnings.Add, Placement = placement, ExpertFiles = expertFiles, StreamSplit = split, UseGraphs = useGraphs, Patience = patience ?? CudaContext.DefaultPatience, ManyRows = manyRows, DriverCollects = driverCollects, SystemBytes = systemBytes, DrivePatience = drivePatience ?? TimeSpan.FromSeconds(30), ExpertProgress = expertProgress });
        }
        catch
        {
            _checkpoint.Dispose();
            throw;
        }

        Cache = new KvCache(HotPath, _backend.Plan.CacheBytes, Weights.Shape.MaxPositions);
        Experts = new ReferenceExperts(Weights);
    }

    public ModelWeights Weights { get; }

    public CudaHotPath HotPath => _backend.HotPath;

    public MemoryPlan Plan => _backend.Plan;

    /// <summary>What the opening told.</summary>
    public List<string> Warnings { get; } = [];

    public KvCache Cache { get; }

    public IRoutedExperts Experts { get; set; }

    /// <summary>Told what each MoE layer hands over.</summary>
    public Action<int, RoutedRows>? Routed { get; set; }

    public int Vocabulary => Weights.Shape.VocabularySize;

    public float[] Logits(int[] tokens, int? chunk = null)
    {
        using KvSequence sequence = Cache.CreateSequence();
        return [.. tokens.Chunk(chunk ?? tokens.Length).SelectMany(part => Step(sequence, part))];
    }

    public float[] Step(KvSequence sequence, int[] tokens)
    {
        Assert.That(sequence.TryExtend(tokens.Length));
        var batch = new RaggedBatch();
        batch.Add(tokens, sequence.Length, sequence.Pages, LogitsWanted.All);
        var logits = new float[tokens.Length * Vocabulary];
        new ForwardPass(Weights, HotPath, Experts) { Routed = Routed }.Run(batch, logits);
        sequence.Advance(tokens.Length);
        Assert.That(_driver.Fault, Is.Null);
        return logits;
    }

    public void Dispose()
    {
        _backend.Dispose();
        _checkpoint.Dispose();
    }
}
