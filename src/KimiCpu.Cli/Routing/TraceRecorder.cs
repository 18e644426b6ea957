// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Model;
using KimiCpu.Sessions;

namespace KimiCpu.Cli.Routing;

/// <summary>Collects what a model's routers choose and predict, a forward pass at a time.</summary>
internal sealed unsafe class TraceRecorder
{
    private readonly ForwardPass _forward;
    private readonly RoutingTraceHeader _header;
    private readonly int[] _placeOf;
    private RoutingStep? _step;

    /// <param name="forward">Of the model.</param>
    /// <param name="header">Of the model.</param>
    public TraceRecorder(ForwardPass forward, RoutingTraceHeader header)
    {
        _forward = forward;
        _header = header;
        _placeOf = new int[header.LayerCount];
        for (int place = 0; place < header.MoeLayers.Count; place++)
        {
            _placeOf[header.MoeLayers[place]] = place;
        }
    }

    /// <param name="checkpoint">The model's files.</param>
    /// <param name="weights">The model.</param>
    /// <param name="source">What is run, to show.</param>
    /// <exception cref="NotSupportedException">The model has no experts.</exception>
    public static RoutingTraceHeader HeaderOf(Checkpoint checkpoint, ModelWeights weights, string source)
    {
        int[] layers = [.. Enumerable.Range(0, weights.Layers.Length).Where(l => weights.Layers[l].IsMoe)];
        return layers.Length > 0
            ? new RoutingTraceHeader
            {
                Model = ModelIdentity.Of(checkpoint),
                ModelName = checkpoint.Name,
                Source = source,
                LayerCount = weights.Layers.Length,
                ExpertCount = weights.Shape.ExpertCount,
                ExpertsPerToken = weights.Shape.ExpertsPerToken,
                ExpertBytes = layers.Max(l => weights.Layers[l].Experts.Max(e => e.TotalBytes)),
                MoeLayers = layers,
                HasPredictions = true,
            }
            : throw new NotSupportedException($"'{checkpoint.Name}' has no layer with routed experts, so that there is nothing to trace.");
    }

    /// <summary>Runs a batch and returns its routing.</summary>
    /// <exception cref="OperationCanceledException">The token was cancelled, at which the pass ends between two layers.</exception>
    public RoutingStep Run(RaggedBatch batch, Span<float> logits, CancellationToken cancellationToken)
    {
        _step = new RoutingStep(_header, batch.RowCount);
        _forward.Routed = Note;
        try
        {
            _forward.Run(batch, logits, cancellationToken);
            return _step;
        }
        finally
        {
            _forward.Routed = null;
        }
    }

    private void Note(int layer, RoutedRows rows)
    {
        int place = _placeOf[layer];
        Copy(rows.Experts, _step!.ExpertsOf(place));
        if (rows.Predicted is not null)
        {
            Copy(rows.Predicted, _step.PredictedOf(place + 1));
        }
    }

    private static void Copy(int* ids, Span<ushort> target)
    {
        for (int i = 0; i < target.Length; i++)
        {
            target[i] = (ushort)ids[i];
        }
    }
}
