// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>
/// What a hot path reads from main memory in a pass: each weight and each cached token once, however many rows need it.
/// Activations stay in the caches and are not counted.
/// </summary>
/// <param name="Weights">Bytes that every pass reads: attention, dense layers, router, shared experts, norms.</param>
/// <param name="Head">Bytes of the head, which a pass with logits reads.</param>
/// <param name="EmbeddingRow">Bytes of the embedding that a token reads.</param>
/// <param name="CachedToken">Bytes of a token in the cache, over all layers.</param>
internal sealed record HotPathReads(long Weights, long Head, long EmbeddingRow, long CachedToken)
{
    /// <param name="weights">Read as they are stored.</param>
    /// <param name="bytesPerPage">Of the cache.</param>
    public static HotPathReads AsStored(ModelWeights weights, long bytesPerPage) => new(
        weights.Layers.Sum(l => l.HotBytes) + (sizeof(float) * (long)weights.FinalNorm.Length),
        weights.Head.TotalBytes,
        weights.Embedding.RowBytes,
        bytesPerPage / KvPage.Tokens);

    /// <summary>What looking ahead reads in addition: the next router once more in every MoE layer but the last.</summary>
    public static long OfLookAhead(ModelWeights weights) =>
        weights.Layers.Where(l => l.IsMoe).Skip(1).Sum(l => l.Router!.TotalBytes);

    /// <summary>Bytes of a pass over the batch.</summary>
    public long Of(RaggedBatch batch)
    {
        long cachedTokens = 0;
        foreach (BatchSequence sequence in batch.Sequences)
        {
            cachedTokens += sequence.Start + sequence.RowCount;
        }

        return Weights + (batch.LogitRows.IsEmpty ? 0 : Head) + (batch.RowCount * EmbeddingRow) + (cachedTokens * CachedToken);
    }
}
