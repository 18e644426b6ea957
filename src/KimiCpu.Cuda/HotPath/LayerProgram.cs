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
internal sealed class LayerProgram(ModelShape shape, DeviceWeights weights, KernelSet kernels, Workspace memory, StepInputs step, HandOver handOver, DevicePages pages, CudaStream stream)
{
    private const float Log2E = 1.4426950408889634f;

    /// <summary>The previous MoE layer's end, attention, and the dense MLP or the router.</summary>
    public void Attend(int layer, int rows, int splits)
    {
        if (layer > 0 && weights.Layers[layer - 1].Router is not null)
        {
            Finish(layer - 1, rows);
        }

        DeviceLayer w = weights.Layers[layer];
        Project(w, rows);
        CacheArguments cache = Cache(layer);
        kernels.RopeStore(stream, rows, new RopeArguments
        {
            Cache = cache,
            Query = memory.Query,
            Latent = memory.Latent,
            Gain = w.KeyValueANorm.Pointer,
            Cosines = step.Cosines,
            Sines = step.Sines,
            Heads = (uint)shape.HeadCount,
            Nope = (uint)shape.NopeHeadSize,
            Epsilon = shape.LowRankNormEpsilon,
        });
        for (int first = 0; first < rows; first += Workspace.AttendRows)
        {
            AttendRows(w, cache, first, Math.Min(Workspace.AttendRows, rows - first), splits);
        }

        Linear(w.Output, memory.Values, memory.Residual, rows, accumulate: true);
        if (w.Dense is { } dense)
        {
            Mlp(dense, w.PostAttentionNorm, memory.Residual, rows, accumulate: true);
            kernels.Finish(stream, rows, new FinishArguments { Residual = memory.Residual, NotFinite = step.NotFinite, Size = (uint)shape.HiddenSize, Layer = (uint)layer });
            return;
        }

        Linear(w.Router!, memory.Residual, memory.RouterLogits, rows, norm: w.PostAttentionNorm);
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

    /// <summary>The shared expert of an MoE layer; nothing where the model has none.</summary>
    public void Shared(int layer, int rows)
    {
        DeviceLayer w = weights.Layers[layer];
        if (w.Shared is { } shared)
        {
            Mlp(shared, w.PostAttentionNorm, memory.Shared, rows, accumulate: false);
        }
    }

    /// <summary>Adds what the experts of an MoE layer gave.</summary>
    public void Finish(int layer, int rows) => kernels.Finish(stream, rows, new FinishArguments
    {
        Residual = memory.Residual,
        Routed = handOver.Routed,
        SharedOutput = weights.Layers[layer].Shared is null ? 0 : memory.Shared,
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
        if (query.Format == w.KeyValueA.Format)
        {
            Linear(query, memory.Residual, queryOutput, rows, norm: w.InputNorm, second: w.KeyValueA, secondOutput: memory.Latent);
        }
        else
        {
            Linear(query, memory.Residual, queryOutput, rows, norm: w.InputNorm);
            Linear(w.KeyValueA, memory.Residual, memory.Latent, rows, norm: w.InputNorm);
        }

        if (w.QueryA is not null)
        {
            Linear(w.QueryB, memory.QueryLatent, memory.Query, rows, norm: w.QueryANorm, epsilon: shape.LowRankNormEpsilon);
        }
    }

    private void AttendRows(DeviceLayer w, in CacheArguments cache, int first, int rows, int splits)
    {
        ulong offset = (ulong)first * sizeof(float);
        CacheArguments ofRows = cache;
        ofRows.Lengths += (ulong)first * sizeof(uint);
        ofRows.Tables += (ulong)first * sizeof(uint);
        kernels.Absorb(stream, w.KeyValueB.Format, shape.HeadCount, rows, new AbsorbArguments
        {
            Expansion = w.KeyValueB.Matrix,
            Query = memory.Query + (offset * (ulong)(shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize))),
            Absorbed = memory.Absorbed,
            Nope = (uint)shape.NopeHeadSize,
            Rope = (uint)shape.RopeHeadSize,
            Value = (uint)shape.ValueHeadSize,
            Scale = shape.SoftmaxScale * Log2E,
        });
        kernels.Attend(stream, splits, rows, new AttendArguments
        {
            Cache = ofRows,
            Absorbed = memory.Absorbed,
            Partial = memory.Partial,
            LogSums = memory.LogSums,
            Heads = (uint)shape.HeadCount,
        });
        kernels.Expand(stream, w.KeyValueB.Format, shape.HeadCount, rows, new ExpandArguments
        {
            Expansion = w.KeyValueB.Matrix,
            Partial = memory.Partial,
            LogSums = memory.LogSums,
            Lengths = ofRows.Lengths,
            Values = memory.Values + (offset * (ulong)(shape.HeadCount * shape.ValueHeadSize)),
            Nope = (uint)shape.NopeHeadSize,
            Value = (uint)shape.ValueHeadSize,
        });
    }

    /// <summary>Of the normalized residual.</summary>
    private void Mlp(DeviceMlp mlp, DeviceVector norm, ulong output, int rows, bool accumulate)
    {
        if (mlp.Gate.Format == mlp.Up.Format)
        {
            Linear(mlp.Gate, memory.Residual, memory.Gate, rows, norm: norm, second: mlp.Up, secondOutput: memory.Up);
        }
        else
        {
            Linear(mlp.Gate, memory.Residual, memory.Gate, rows, norm: norm);
            Linear(mlp.Up, memory.Residual, memory.Up, rows, norm: norm);
        }

        kernels.Linear(stream, mlp.Down.Format, new LinearArguments
        {
            First = mlp.Down.Matrix,
            FirstOutput = output,
            Input = memory.Gate,
            Aside = memory.Up,
            Batch = (uint)rows,
            Mode = LinearInput.Gated,
            Accumulate = accumulate ? 1u : 0,
        });
    }

    private void Linear(DeviceWeight weight, ulong input, ulong output, int rows, DeviceVector? norm = null, float? epsilon = null, DeviceWeight? second = null, ulong secondOutput = 0, bool accumulate = false, ulong rowMap = 0) =>
        kernels.Linear(stream, weight.Format, new LinearArguments
        {
            First = weight.Matrix,
            Second = second is null ? default : second.Matrix,
            FirstOutput = output,
            SecondOutput = secondOutput,
            Input = input,
            Aside = norm?.Pointer ?? 0,
            RowMap = rowMap,
            Batch = (uint)rows,
            Mode = norm is null ? LinearInput.Plain : LinearInput.Normalized,
            Accumulate = accumulate ? 1u : 0,
            Epsilon = epsilon ?? shape.NormEpsilon,
        });

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
