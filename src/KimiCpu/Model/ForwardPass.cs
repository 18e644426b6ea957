// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>
/// The one forward pass: a ragged batch of tokens in, logits out, layer by layer, whatever hardware runs the hot path
/// and the routed experts. Used by one thread at a time.
/// </summary>
internal sealed class ForwardPass
{
    private readonly ModelWeights _weights;
    private readonly IHotPath _hotPath;
    private readonly IRoutedExperts _experts;
    private readonly ExpertReads _expertReads;
    private int[] _nonFiniteLayers = [];

    public ForwardPass(ModelWeights weights, IHotPath hotPath, IRoutedExperts experts)
    {
        _weights = weights;
        _hotPath = hotPath;
        _experts = experts;
        _expertReads = new ExpertReads(weights);
    }

    public ModelShape Shape => _weights.Shape;

    /// <summary>(vocabulary, hidden).</summary>
    public WeightMatrix Embedding => _weights.Embedding;

    /// <summary>Most tokens of a pass.</summary>
    public int MaxRows => _hotPath.MaxRows;

    /// <summary>See <see cref="IHotPath.EfficientRows"/>.</summary>
    public int EfficientRows => _hotPath.EfficientRows;

    /// <summary>Passes that were computed to their end.</summary>
    public long Passes { get; private set; }

    /// <summary>Bytes that the last pass read from main memory: weights, each once, and the cache of its sequences.</summary>
    public long BytesRead { get; private set; }

    /// <summary>Bytes that came from drives during the last pass, those of look-ahead included; 0 where all weights are in memory.</summary>
    public long DriveBytesRead { get; private set; }

    /// <summary>Where the last pass found its experts; none where all weights are in memory.</summary>
    public ExpertLookups Lookups { get; private set; }

    /// <summary>Called when a pass has been computed; throws where what was read cannot be trusted.</summary>
    public Action? Verify { get; set; }

    /// <summary>Called with (layer, rows) after each router's choice; for traces and tests.</summary>
    public Action<int, RoutedRows>? Routed { get; set; }

    /// <summary>
    /// Runs the batch. When it returns everything is done, on a device with a queue of its own too: keys and values of the
    /// tokens are in the cache, and no error of this pass comes to light in a later one.
    /// </summary>
    /// <param name="batch">Tokens of one or several sequences with room in their pages.</param>
    /// <param name="logits">(batch.LogitRows.Length, vocabulary).</param>
    /// <param name="isWanted">Asked before every layer, which it is given: whether anybody still wants the pass. A layer may take seconds where experts come from a drive.</param>
    /// <returns>False where nobody did: the logits say nothing, nor does the cache behind the tokens that were there before.</returns>
    public bool Run(RaggedBatch batch, Span<float> logits, Func<int, bool>? isWanted = null)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(logits.Length, (long)batch.LogitRows.Length * Shape.VocabularySize);
        foreach (int token in batch.Tokens)
        {
            if ((uint)token >= (uint)Shape.VocabularySize)
            {
                throw new ArgumentOutOfRangeException(nameof(batch), token, $"Token ids run from 0 to {Shape.VocabularySize - 1}.");
            }
        }

        BytesRead = _hotPath.BytesRead(batch);
        (long before, ExpertLookups lookedUp) = (_experts.DriveBytesRead, _experts.Lookups);
        _hotPath.Begin(batch);
        for (int layer = 0; layer < Shape.LayerCount; layer++)
        {
            if (isWanted?.Invoke(layer) == false)
            {
                return false;
            }

            RoutedRows rows = _hotPath.Attend(layer);
            if (rows.IsEmpty)
            {
                continue;
            }

            Routed?.Invoke(layer, rows);
            BytesRead += _expertReads.Of(layer, rows);
            _hotPath.StartShared(layer);
            _experts.Run(layer, rows, _hotPath.RoutedSum);
            _hotPath.Finish(layer);
        }

        if (!batch.LogitRows.IsEmpty)
        {
            _hotPath.Logits(batch.LogitRows, logits);
        }

        if (_nonFiniteLayers.Length < batch.RowCount)
        {
            _nonFiniteLayers = new int[batch.RowCount];
        }

        for (int row = 0; row < batch.RowCount; row++)
        {
            _nonFiniteLayers[row] = _hotPath.NonFiniteLayer(row);
        }

        DriveBytesRead = _experts.DriveBytesRead - before;
        Lookups = _experts.Lookups - lookedUp;
        Passes++;
        Verify?.Invoke();
        return true;
    }

    /// <summary>The first layer after which the residual of a row of the last pass was not finite; -1 where none was.</summary>
    public int NonFiniteLayer(int row) => _nonFiniteLayers[row];
}
