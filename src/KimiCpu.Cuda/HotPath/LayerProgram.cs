// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.HotPath;

/// <summary>
/// Puts the kernels of a layer's blocks into the stream, in the model's order. Addresses depend on the layer only and grids on the
/// number of rows and splits, so that what it puts can be recorded.
/// </summary>
internal sealed class LayerProgram(ModelShape shape, DeviceWeights weights, KernelSet kernels, Workspace memory, StepInputs step, HandOver handOver, DevicePages pages, CudaStream stream, int manyRows, int expandedRows, ExpertProgram? experts)
{
    private const float Log2E = 1.4426950408889634f;

    /// <summary>The layer whose experts a layer guesses; null behind the last one, and where nobody looks ahead.</summary>
    private readonly int?[] _nextMoe =
        [.. weights.Layers.Select((_, layer) => handOver.Predicted == 0 ? null : Enumerable.Range(0, weights.Layers.Count).Where(l => l > layer && weights.Layers[l].Router is not null).Select(l => (int?)l).FirstOrDefault())];

    private readonly LinearProgram _linear = new(kernels, memory, stream, manyRows);
    private readonly uint _mostSplits = (uint)kernels.MostSplits(shape);
    private readonly int _fewestExpanded = Math.Max(expandedRows, manyRows);
    private readonly ExpandedAttention _expanded = new(shape, kernels, memory, stream, pages.Format, expandedRows);

    /// <summary>Rows of a sequence from which on attention expands its keys and values; 1 where no layer does.</summary>
    public int EfficientRows => weights.Layers.Any(l => _expanded.Takes(_fewestExpanded, l.KeyValueB)) ? _fewestExpanded : 1;

    /// <summary>The previous MoE layer's end, attention, and the dense MLP or the router.</summary>
    /// <param name="layer">Which.</param>
    /// <param name="rows">Of the pass.</param>
    /// <param name="splits">At least what the longest row has.</param>
    /// <param name="sequences">Of the pass; looked at only where one of them has many rows.</param>
    public void Attend(int layer, int rows, int splits, ReadOnlySpan<BatchSequence> sequences)
    {
        if (layer > 0 && weights.Layers[layer - 1].Router is not null)
        {
            Finish(layer - 1, rows);
        }

        DeviceLayer w = weights.Layers[layer];
        Project(w, rows);
        CacheArguments cache = Cache(layer);
        kernels.RopeStore(stream, pages.Format, rows, new RopeArguments
        {
            Cache = cache,
            Query = memory.Query,
            Latent = memory.Latent,
            Gain = w.KeyValueANorm.Pointer,
            Rotations = step.Rotations,
            Heads = (uint)shape.HeadCount,
            Nope = (uint)shape.NopeHeadSize,
            Epsilon = shape.LowRankNormEpsilon,
        });
        bool many = _linear.TakesMany(rows);
        int next = 0;
        foreach (ref readonly BatchSequence sequence in sequences)
        {
            if (many && _expanded.Takes(sequence.RowCount, w.KeyValueB))
            {
                AttendAbsorbed(w, cache, next, sequence.FirstRow, splits, many);
                _expanded.Put(w.KeyValueB, cache, sequence);
                next = sequence.FirstRow + sequence.RowCount;
            }
        }

        AttendAbsorbed(w, cache, next, rows, splits, many);
        Linear(w.Output, memory.Values, memory.Residual, rows, accumulate: true);
        if (w.Dense is { } dense)
        {
            Mlp(dense, w.PostAttentionNorm, memory.Residual, rows, accumulate: true);
            kernels.Finish(stream, rows, new FinishArguments { Residual = memory.Residual, NotFinite = step.NotFinite, Size = (uint)shape.HiddenSize, Layer = (uint)layer });
            return;
        }

        // The next layer's router sees the rows of this one, with this one's gain.
        DeviceLayer? nextMoe = _nextMoe[layer] is { } later ? weights.Layers[later] : null;
        Linear(w.Router!, memory.Residual, memory.RouterLogits, rows, norm: w.PostAttentionNorm, second: nextMoe?.Router, secondOutput: memory.NextRouterLogits);
        kernels.Route(stream, rows, new RouteArguments
        {
            Residual = memory.Residual,
            Gain = w.PostAttentionNorm.Pointer,
            Logits = memory.RouterLogits,
            Bias = w.RouterBias!.Pointer,
            Hidden = handOver.Hidden,
            Ids = handOver.Experts,
            Weights = handOver.Weights,
            Flag = handOver.Flag,
            FlagBase = step.FlagBase,
            Finished = memory.Finished,
            NextLogits = memory.NextRouterLogits,
            NextBias = nextMoe?.RouterBias!.Pointer ?? 0,
            Predicted = nextMoe is null ? 0 : handOver.Predicted,
            Size = (uint)shape.HiddenSize,
            Experts = (uint)shape.ExpertCount,
            Chosen = (uint)shape.ExpertsPerToken,
            Groups = (uint)shape.ExpertGroupCount,
            GroupsChosen = (uint)shape.ExpertGroupsPerToken,
            Normalize = shape.NormalizeExpertWeights && shape.ExpertsPerToken > 1 ? 1u : 0,
            Layer = (uint)layer,
            Epsilon = shape.NormEpsilon,
            Factor = shape.RoutedScalingFactor,
        });
    }

    /// <summary>The layer whose experts a layer guesses; null for none.</summary>
    public int? GuessedBy(int layer) => _nextMoe[layer];

    /// <summary>
    /// What an MoE layer has on the GPU: its shared expert, and in passes of few tokens those routed ones that are here. Behind that the GPU waits for the CPU, and brings
    /// what it reads next into its second-level cache.
    /// </summary>
    public void Shared(int layer, int rows)
    {
        DeviceLayer w = weights.Layers[layer];
        if (w.Shared is { } shared)
        {
            Mlp(shared, w.PostAttentionNorm, memory.Shared, rows, accumulate: false);
        }

        if (experts is not null && !experts.TakesMany(rows))
        {
            experts.PutFew(layer, rows);
        }

        // The CPU takes longer for its experts than the GPU for all this. Passes of many rows do not wait for weights.
        if (rows <= CudaHotPath.GraphRows)
        {
            kernels.Warm(stream, weights.FirstReadBehind(layer));
        }
    }

    /// <summary>Adds what the experts of an MoE layer gave.</summary>
    public void Finish(int layer, int rows) => kernels.Finish(stream, rows, new FinishArguments
    {
        Residual = memory.Residual,
        Routed = handOver.Routed,
        SharedOutput = weights.Layers[layer].Shared is null && experts?.Adds(rows) != true ? 0 : memory.Shared,
        NotFinite = step.NotFinite,
        Size = (uint)shape.HiddenSize,
        Layer = (uint)layer,
    });

    /// <summary>Final norm and head.</summary>
    /// <param name="rowMap">Address of (rows) rows of the batch.</param>
    /// <param name="rows">At most <see cref="Workspace.LogitRows"/>.</param>
    public void Head(ulong rowMap, int rows) => Linear(weights.Head, memory.Residual, memory.Logits, rows, norm: weights.FinalNorm, rowMap: rowMap);

    /// <summary>The low-rank projections: queries before their rotation, and the latent with its key.</summary>
    private void Project(DeviceLayer w, int rows)
    {
        DeviceWeight query = w.QueryA ?? w.QueryB;
        ulong queryOutput = w.QueryA is null ? memory.Query : memory.QueryLatent;
        Linear(query, memory.Residual, queryOutput, rows, norm: w.InputNorm, second: w.KeyValueA, secondOutput: memory.Latent);
        if (w.QueryA is not null)
        {
            Linear(w.QueryB, memory.QueryLatent, memory.Query, rows, norm: w.QueryANorm, epsilon: shape.LowRankNormEpsilon);
        }
    }

    /// <summary>Attention of neighbouring rows over the latents themselves.</summary>
    private void AttendAbsorbed(DeviceLayer w, in CacheArguments cache, int begin, int end, int splits, bool many)
    {
        many = many && KernelSet.SuitsAttendRows(shape) && KernelSet.SuitsGemm(w.KeyValueB);
        int atOnce = many ? Workspace.PromptAttendRows : Workspace.AttendRows;
        for (int first = begin; first < end; first += atOnce)
        {
            int count = Math.Min(atOnce, end - first);
            if (many)
            {
                AttendPromptRows(w, cache, first, count);
            }
            else
            {
                AttendRows(w, cache, first, count, splits);
            }
        }
    }

    private void AttendRows(DeviceLayer w, in CacheArguments cache, int first, int rows, int splits)
    {
        CacheArguments ofRows = OfRows(cache, first);
        kernels.Absorb(stream, w.KeyValueB.Format, shape.HeadCount, AbsorbOf(w, first, rows));
        kernels.Attend(stream, pages.Format, splits, rows, new AttendArguments
        {
            Cache = ofRows,
            Absorbed = memory.Absorbed,
            Partial = memory.Partial,
            LogSums = memory.LogSums,
            Heads = (uint)shape.HeadCount,
            MostSplits = _mostSplits,
        });
        kernels.Expand(stream, w.KeyValueB.Format, shape.HeadCount, rows, new ExpandArguments
        {
            Expansion = w.KeyValueB.Matrix,
            Partial = memory.Partial,
            LogSums = memory.LogSums,
            Lengths = ofRows.Lengths,
            Values = ValuesOf(first),
            Nope = (uint)shape.NopeHeadSize,
            Value = (uint)shape.ValueHeadSize,
            MostSplits = _mostSplits,
        });
    }

    /// <summary>The same on the tensor cores: no splits, so nothing to merge, and the values of each head are a product of their own.</summary>
    private void AttendPromptRows(DeviceLayer w, in CacheArguments cache, int first, int rows)
    {
        kernels.AbsorbRows(stream, w.KeyValueB.Format, shape.HeadCount, AbsorbOf(w, first, rows));
        kernels.AttendRows(stream, pages.Format, rows, new AttendRowsArguments
        {
            Cache = OfRows(cache, first),
            Absorbed = memory.Absorbed,
            Attended = memory.Partial,
            Heads = (uint)shape.HeadCount,
            ForBytes = KernelSet.ForBytes(w.KeyValueB.Format),
        });
        kernels.Gemm(stream, w.KeyValueB.Format, new GemmArguments
        {
            First = w.KeyValueB.Matrix,
            FirstOutput = ValuesOf(first),
            Input = memory.Partial,
            Batch = (uint)rows,
            Stride = (uint)(shape.HeadCount * shape.KeyValueLoraRank),
            Heads = (uint)shape.HeadCount,
            HeadRows = (uint)shape.ValueHeadSize,
            HeadBegin = (uint)shape.NopeHeadSize,
            HeadStep = (uint)(shape.NopeHeadSize + shape.ValueHeadSize),
        });
    }

    private AbsorbArguments AbsorbOf(DeviceLayer w, int first, int rows) => new()
    {
        Expansion = w.KeyValueB.Matrix,
        Query = memory.Query + ((ulong)first * sizeof(float) * (ulong)(shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize))),
        Absorbed = memory.Absorbed,
        Nope = (uint)shape.NopeHeadSize,
        Rope = (uint)shape.RopeHeadSize,
        Value = (uint)shape.ValueHeadSize,
        Batch = (uint)rows,
        Scale = shape.SoftmaxScale * Log2E,
    };

    private ulong ValuesOf(int row) => memory.Values + ((ulong)row * sizeof(float) * (ulong)(shape.HeadCount * shape.ValueHeadSize));

    private static CacheArguments OfRows(CacheArguments cache, int first)
    {
        cache.Lengths += (ulong)first * sizeof(uint);
        cache.Tables += (ulong)first * sizeof(uint);
        return cache;
    }

    /// <summary>Of the normalized residual.</summary>
    private void Mlp(DeviceMlp mlp, DeviceVector norm, ulong output, int rows, bool accumulate)
    {
        bool gates = _linear.CanGate(mlp.Gate, mlp.Up, rows);
        Linear(mlp.Gate, memory.Residual, memory.Gate, rows, norm: norm, second: mlp.Up, secondOutput: memory.Up, gates: gates);
        _linear.Put(new LinearLayer(mlp.Down, memory.Gate, output) { Mode = gates ? LinearInput.Plain : LinearInput.Gated, Aside = memory.Up, Accumulate = accumulate }, rows);
    }

    private void Linear(DeviceWeight weight, ulong input, ulong output, int rows, DeviceVector? norm = null, float? epsilon = null, DeviceWeight? second = null, ulong secondOutput = 0, bool accumulate = false, ulong rowMap = 0, bool gates = false) =>
        _linear.Put(
            new LinearLayer(weight, input, output)
            {
                Mode = norm is null ? LinearInput.Plain : LinearInput.Normalized,
                Aside = norm?.Pointer ?? 0,
                Epsilon = epsilon ?? shape.NormEpsilon,
                Second = second,
                SecondOutput = secondOutput,
                Accumulate = accumulate,
                RowMap = rowMap,
                Gates = gates,
            },
            rows);

    private CacheArguments Cache(int layer) => new()
    {
        Layer = pages.Layer(layer),
        Lengths = step.Lengths,
        Tables = step.Tables,
        Pages = step.Pages,
        PageBytes = (ulong)pages.BytesPerPage,
        Latent = (uint)shape.KeyValueLoraRank,
        Rope = (uint)shape.RopeHeadSize,
    };
}
