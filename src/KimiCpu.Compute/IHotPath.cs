// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>
/// Everything that every token needs, on one device: embedding, attention with its cache, dense layers, router, shared
/// experts, head. Cut at the blocks of a layer, so that a device can overlap them with the routed experts. Called by one
/// thread at a time, in the order Begin, then per layer Attend (StartShared, Finish in MoE layers), then Logits.
/// </summary>
internal interface IHotPath : IDisposable
{
    /// <summary>Most tokens of a pass.</summary>
    int MaxRows { get; }

    /// <summary>New tokens of one sequence in a pass from which on each takes clearly fewer operations; 1, or more than a pass can have, where their number changes nothing.</summary>
    int EfficientRows { get; }

    /// <summary>Bytes of one cache page of <see cref="KvPage.Tokens"/> tokens over all layers.</summary>
    long BytesPerPage { get; }

    /// <summary>Bytes that a pass over the batch reads from main memory, weights and cache; without the routed experts.</summary>
    long BytesRead(RaggedBatch batch);

    /// <summary>Makes pages 0 … <paramref name="count"/> - 1 usable; contents of existing pages stay.</summary>
    void ReservePages(int count);

    /// <summary>Overwrites a page with another one's contents.</summary>
    void CopyPage(int source, int target);

    /// <summary>Copies the first tokens of a page out, (layers, tokens, kv_lora + rope) in the cache's own type.</summary>
    /// <param name="page">Which page.</param>
    /// <param name="tokens">1 … <see cref="KvPage.Tokens"/>.</param>
    /// <param name="bytes">Exactly as long as they are.</param>
    void ReadPage(int page, int tokens, Span<byte> bytes);

    /// <summary>The reverse of <see cref="ReadPage"/>; what follows the tokens in the page is lost.</summary>
    void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes);

    /// <summary>Starts a forward pass: the residual becomes the embeddings (rows, hidden) of the batch's tokens.</summary>
    void Begin(RaggedBatch batch);

    /// <summary>
    /// Attention of a layer, added to the residual; new keys go to the cache. In a dense layer also its MLP, and the
    /// result is empty. In an MoE layer, the normalized hidden rows and the router's choice; valid until the next call.
    /// </summary>
    RoutedRows Attend(int layer);

    /// <summary>Starts the shared expert of an MoE layer on the rows that <see cref="Attend"/> gave.</summary>
    void StartShared(int layer);

    /// <summary>
    /// (rows, hidden) of the pass: where the sum of a layer's routed experts is written, behind its <see cref="Attend"/> and before its <see cref="Finish"/>. It is
    /// the device's to say, so that nobody copies it.
    /// </summary>
    Span<float> RoutedSum { get; }

    /// <summary>Adds the shared expert's result and <see cref="RoutedSum"/> to the residual.</summary>
    void Finish(int layer);

    /// <summary>Final norm and head for the given rows of the batch. <paramref name="logits"/> is (rows.Length, vocabulary).</summary>
    void Logits(ReadOnlySpan<int> rows, Span<float> logits);

    /// <summary>The first layer after which a row of the running pass held a NaN or an infinity; -1 where none did. Waits until the pass is done.</summary>
    int NonFiniteLayer(int row);
}

/// <summary>What an MoE layer hands to its routed experts.</summary>
internal readonly unsafe struct RoutedRows
{
    public RoutedRows(int rowCount, float* hidden, int* experts, float* weights, int* predicted = null)
    {
        RowCount = rowCount;
        Hidden = hidden;
        Experts = experts;
        Weights = weights;
        Predicted = predicted;
    }

    public int RowCount { get; }

    /// <summary>(rows, hidden), normalized.</summary>
    public float* Hidden { get; }

    /// <summary>(rows, experts per token): expert ids, by falling choice score.</summary>
    public int* Experts { get; }

    /// <summary>(rows, experts per token): factor of each expert's output, normalization and scaling applied.</summary>
    public float* Weights { get; }

    /// <summary>
    /// (rows, experts per token): what the router of the next MoE layer chooses for the hidden rows of this one: a guess of its
    /// choice, to read ahead by and never to compute with. Null in the last MoE layer, and where looking ahead is off.
    /// </summary>
    public int* Predicted { get; }

    /// <summary>(experts of the layer) true for those that the hot path's device has and adds itself: nobody else computes them. Null for none.</summary>
    public bool* Elsewhere { get; init; }

    /// <summary>The same for the layer that <see cref="Predicted"/> tells about.</summary>
    public bool* PredictedElsewhere { get; init; }

    /// <summary>Takes those <see cref="Elsewhere"/> that the device does not have; null where it has them all.</summary>
    public IPassingExperts? Passing { get; init; }

    /// <summary>Whether an expert is left to <see cref="IRoutedExperts"/>.</summary>
    public bool IsHere(int expert) => Elsewhere == null || !Elsewhere[expert];

    public bool IsEmpty => RowCount == 0;
}

/// <summary>The routed experts of all layers. Called by one thread at a time.</summary>
internal interface IRoutedExperts : IDisposable
{
    /// <summary>Bytes of experts that have come from drives since the model was opened; 0 where all are in memory.</summary>
    long DriveBytesRead { get; }

    /// <summary>Where experts were found since the model was opened; none are looked up where all are in memory.</summary>
    ExpertLookups Lookups => default;

    /// <summary>
    /// Overwrites <paramref name="sum"/> (rows, hidden) with the weighted sum of the chosen experts' outputs, without those that are <see cref="RoutedRows.Elsewhere"/>.
    /// Those of them that are <see cref="RoutedRows.Passing"/> are handed over meanwhile.
    /// </summary>
    void Run(int layer, RoutedRows rows, Span<float> sum);
}

/// <summary>How activations and cache are rounded.</summary>
internal enum ComputePrecision
{
    /// <summary>INT4 weights meet activations rounded to int8 per group of 32; the cache is BF16.</summary>
    Fast,

    /// <summary>Single-precision activations and cache, for verification.</summary>
    Exact,
}
