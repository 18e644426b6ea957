// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cuda.Weights;

/// <summary>
/// Which weights are reduced to 8 bits so that a model fits. What is stored in 8 bits stays as it is; the router always does.
/// </summary>
/// <param name="Name">For messages.</param>
/// <param name="SmallHead">Whether the head is.</param>
/// <param name="SmallMlps">Whether dense layers and shared experts are.</param>
/// <param name="SmallAttention">Whether attention is.</param>
internal sealed record WeightPlan(string Name, bool SmallHead, bool SmallMlps, bool SmallAttention)
{
    /// <summary>From exact to small: the least sensitive weights are reduced first.</summary>
    public static IReadOnlyList<WeightPlan> All { get; } =
    [
        new("all weights as stored", false, false, false),
        new("head in 8 bits", true, false, false),
        new("head, dense layers and shared experts in 8 bits", true, true, false),
        new("all weights in 8 bits", true, true, true),
    ];
}

/// <summary>All weights that every token needs, laid out for one allocation on the device. The embedding stays on the host.</summary>
internal sealed class DeviceWeights
{
    private readonly List<DeviceWeight> _matrices = [];
    private readonly List<DeviceVector> _vectors = [];
    private readonly IWeightResidence? _residence;

    public DeviceWeights(ModelWeights weights, WeightPlan plan)
    {
        var layout = new DeviceLayout();
        DeviceWeight Matrix(in WeightMatrix source, bool small)
        {
            var weight = new DeviceWeight(source, small ? DeviceFormats.Small(source) : DeviceFormats.Exact(source), layout);
            _matrices.Add(weight);
            return weight;
        }

        DeviceVector Vector(float[] source)
        {
            var vector = new DeviceVector(source, layout);
            _vectors.Add(vector);
            return vector;
        }

        DeviceMlp? Mlp(MlpWeights? source) => source is null
            ? null
            : new DeviceMlp(Matrix(source.Gate, plan.SmallMlps), Matrix(source.Up, plan.SmallMlps), Matrix(source.Down, plan.SmallMlps));

        Plan = plan;
        _residence = weights.Residence;
        Layers =
        [
            .. weights.Layers.Select(l => new DeviceLayer
            {
                InputNorm = Vector(l.InputNorm),
                QueryA = l.Attention.QueryA.IsEmpty ? null : Matrix(l.Attention.QueryA, plan.SmallAttention),
                QueryANorm = l.Attention.QueryA.IsEmpty ? null : Vector(l.Attention.QueryANorm),
                QueryB = Matrix(l.Attention.QueryB, plan.SmallAttention),
                KeyValueA = Matrix(l.Attention.KeyValueA, plan.SmallAttention),
                KeyValueANorm = Vector(l.Attention.KeyValueANorm),
                KeyValueB = Matrix(l.Attention.KeyValueB, plan.SmallAttention),
                Output = Matrix(l.Attention.Output, plan.SmallAttention),
                PostAttentionNorm = Vector(l.PostAttentionNorm),
                Dense = Mlp(l.Dense),
                Router = l.Router is null ? null : Matrix(l.Router.Gate, small: false),
                RouterBias = l.Router is null ? null : Vector(l.Router.CorrectionBias),
                Shared = Mlp(l.Shared),
            }),
        ];
        FinalNorm = Vector(weights.FinalNorm);
        Head = Matrix(weights.Head, plan.SmallHead);
        Bytes = layout.Bytes;
    }

    public WeightPlan Plan { get; }

    /// <summary>Of the allocation.</summary>
    public long Bytes { get; }

    public IReadOnlyList<DeviceLayer> Layers { get; }

    public DeviceVector FinalNorm { get; }

    public DeviceWeight Head { get; }

    /// <summary>What is read first behind a layer: the next one's weights of attention, which lie one behind the other about as they are read, or the head.</summary>
    public DeviceRange FirstReadBehind(int layer)
    {
        if (layer + 1 == Layers.Count)
        {
            return new DeviceRange(Head.Matrix.Data, Head.Bytes);
        }

        DeviceLayer next = Layers[layer + 1];
        ulong begin = (next.QueryA ?? next.QueryB).Matrix.Data;
        return new DeviceRange(begin, (long)(next.Output.End - begin));
    }

    /// <summary>Says where the allocation is, without filling it.</summary>
    /// <param name="address">Of <see cref="Bytes"/> bytes on the device.</param>
    public void Place(ulong address)
    {
        _vectors.ForEach(v => v.Place(address));
        _matrices.ForEach(m => m.Place(address));
    }

    /// <summary>Fills the allocation.</summary>
    /// <param name="address">Of <see cref="Bytes"/> bytes on the device.</param>
    /// <param name="uploader">Copies.</param>
    /// <param name="progress">Told after every weight: done, in all. May throw to stop.</param>
    public void Upload(ulong address, WeightUploader uploader, Action<int, int>? progress)
    {
        Place(address);
        _vectors.ForEach(uploader.Copy);

        using var turn = new WeightsInTurn(_residence, _matrices.Select(m => m.Source));
        for (int i = 0; i < _matrices.Count; i++)
        {
            turn.Take();
            uploader.Copy(_matrices[i]);
            turn.LetGo(_matrices[i].Source);
            progress?.Invoke(i + 1, _matrices.Count);
        }
    }
}

/// <summary>The weights of one layer.</summary>
internal sealed class DeviceLayer
{
    public required DeviceVector InputNorm { get; init; }

    /// <summary>Null where the query path has no low rank.</summary>
    public required DeviceWeight? QueryA { get; init; }

    public required DeviceVector? QueryANorm { get; init; }

    public required DeviceWeight QueryB { get; init; }

    public required DeviceWeight KeyValueA { get; init; }

    public required DeviceVector KeyValueANorm { get; init; }

    public required DeviceWeight KeyValueB { get; init; }

    public required DeviceWeight Output { get; init; }

    public required DeviceVector PostAttentionNorm { get; init; }

    /// <summary>Null in MoE layers.</summary>
    public required DeviceMlp? Dense { get; init; }

    /// <summary>Null in dense layers.</summary>
    public required DeviceWeight? Router { get; init; }

    public required DeviceVector? RouterBias { get; init; }

    /// <summary>Null in dense layers and where a model has none.</summary>
    public required DeviceMlp? Shared { get; init; }
}

/// <summary>down(silu(gate(x)) * up(x)).</summary>
internal sealed record DeviceMlp(DeviceWeight Gate, DeviceWeight Up, DeviceWeight Down);
