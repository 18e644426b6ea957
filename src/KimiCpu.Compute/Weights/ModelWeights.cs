// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>All weights of a model as views of the checkpoint, or of memory that they are read into while they are held; immutable, valid while the checkpoint is open.</summary>
internal sealed class ModelWeights
{
    public required ModelShape Shape { get; init; }

    /// <summary>(vocabulary, hidden).</summary>
    public required WeightMatrix Embedding { get; init; }

    public required LayerWeights[] Layers { get; init; }

    /// <summary>(hidden).</summary>
    public required float[] FinalNorm { get; init; }

    /// <summary>(vocabulary, hidden); the embedding where the checkpoint ties them.</summary>
    public required WeightMatrix Head { get; init; }

    /// <summary>Who reads all but the routed experts when they are needed; null where they are there.</summary>
    public IWeightResidence? Residence { get; init; }

    /// <summary>All matrices that every token needs whole, in order: those of the layers and the head.</summary>
    public IEnumerable<WeightMatrix> HotMatrices => Layers.SelectMany(l => l.HotMatrices).Append(Head);

    /// <summary>The first MoE layer behind a layer; null where none follows.</summary>
    public LayerWeights? NextMoeLayer(int layer)
    {
        for (int next = layer + 1; next < Layers.Length; next++)
        {
            if (Layers[next].IsMoe)
            {
                return Layers[next];
            }
        }

        return null;
    }
}

/// <summary>One decoder layer. Either <see cref="Dense"/> is set, or the router and the experts are.</summary>
internal sealed class LayerWeights
{
    /// <summary>(hidden).</summary>
    public required float[] InputNorm { get; init; }

    public required AttentionWeights Attention { get; init; }

    /// <summary>(hidden).</summary>
    public required float[] PostAttentionNorm { get; init; }

    /// <summary>The plain gated MLP of the first layers; null in MoE layers.</summary>
    public MlpWeights? Dense { get; init; }

    /// <summary>Null in dense layers.</summary>
    public RouterWeights? Router { get; init; }

    /// <summary>The experts that every token uses, as one MLP; null in dense layers and where a model has none.</summary>
    public MlpWeights? Shared { get; init; }

    /// <summary>Routed experts by id; empty in dense layers.</summary>
    public MlpWeights[] Experts { get; init; } = [];

    public bool IsMoe => Router is not null;

    /// <summary>All matrices but those of the routed experts.</summary>
    public IEnumerable<WeightMatrix> HotMatrices
    {
        get
        {
            WeightMatrix[] all =
            [
                Attention.QueryA, Attention.QueryB, Attention.KeyValueA, Attention.KeyValueB, Attention.Output,
                .. Dense is null ? [] : (ReadOnlySpan<WeightMatrix>)[Dense.Gate, Dense.Up, Dense.Down],
                .. Router is null ? [] : (ReadOnlySpan<WeightMatrix>)[Router.Gate],
                .. Shared is null ? [] : (ReadOnlySpan<WeightMatrix>)[Shared.Gate, Shared.Up, Shared.Down],
            ];
            return all.Where(w => !w.IsEmpty);
        }
    }

    /// <summary>Stored bytes of all but the routed experts: what every token reads.</summary>
    public long HotBytes =>
        (sizeof(float) * (long)(InputNorm.Length + PostAttentionNorm.Length))
        + Attention.TotalBytes + (Dense?.TotalBytes ?? 0) + (Router?.TotalBytes ?? 0) + (Shared?.TotalBytes ?? 0);
}

/// <summary>Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).</summary>
internal sealed class AttentionWeights
{
    /// <summary><c>q_a_proj</c> (q_lora, hidden); empty where the query path has no low rank.</summary>
    public required WeightMatrix QueryA { get; init; }

    /// <summary>(q_lora); empty where the query path has no low rank.</summary>
    public required float[] QueryANorm { get; init; }

    /// <summary><c>q_b_proj</c> (heads x (nope + rope), q_lora), or <c>q_proj</c> (…, hidden). Rows of a head: nope, then rope.</summary>
    public required WeightMatrix QueryB { get; init; }

    /// <summary><c>kv_a_proj_with_mqa</c> (kv_lora + rope, hidden).</summary>
    public required WeightMatrix KeyValueA { get; init; }

    /// <summary>(kv_lora).</summary>
    public required float[] KeyValueANorm { get; init; }

    /// <summary><c>kv_b_proj</c> (heads x (nope + v), kv_lora). Rows of a head: nope, then v.</summary>
    public required WeightMatrix KeyValueB { get; init; }

    /// <summary><c>o_proj</c> (hidden, heads x v).</summary>
    public required WeightMatrix Output { get; init; }

    /// <summary>Bytes of all weights, norms included.</summary>
    public long TotalBytes =>
        QueryA.TotalBytes + QueryB.TotalBytes + KeyValueA.TotalBytes + KeyValueB.TotalBytes + Output.TotalBytes
        + (sizeof(float) * (long)(QueryANorm.Length + KeyValueANorm.Length));
}

/// <summary>down(silu(gate(x)) * up(x)).</summary>
internal sealed class MlpWeights
{
    /// <summary>(intermediate, hidden).</summary>
    public required WeightMatrix Gate { get; init; }

    /// <summary>(intermediate, hidden).</summary>
    public required WeightMatrix Up { get; init; }

    /// <summary>(hidden, intermediate).</summary>
    public required WeightMatrix Down { get; init; }

    /// <summary>Bytes of all three.</summary>
    public long TotalBytes => Gate.TotalBytes + Up.TotalBytes + Down.TotalBytes;
}

/// <summary>The sigmoid router (<c>noaux_tc</c>).</summary>
internal sealed class RouterWeights
{
    /// <summary>(experts, hidden); never quantized.</summary>
    public required WeightMatrix Gate { get; init; }

    /// <summary><c>e_score_correction_bias</c> (experts): chooses, never weighs.</summary>
    public required float[] CorrectionBias { get; init; }

    /// <summary>Bytes of both.</summary>
    public long TotalBytes => Gate.TotalBytes + (sizeof(float) * (long)CorrectionBias.Length);
}
