// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Routing;

/// <summary>The routing of one forward pass. MoE layers are counted by their place among the MoE layers.</summary>
internal sealed class RoutingStep
{
    private readonly int _chosen;
    private readonly ushort[] _experts;
    private readonly ushort[] _predicted;

    /// <param name="header">Of the trace.</param>
    /// <param name="rows">Tokens of the pass, 1 or more.</param>
    public RoutingStep(RoutingTraceHeader header, int rows)
    {
        Rows = rows;
        _chosen = header.ExpertsPerToken;
        _experts = new ushort[header.MoeLayers.Count * rows * _chosen];
        _predicted = header.HasPredictions ? new ushort[(header.MoeLayers.Count - 1) * rows * _chosen] : [];
    }

    public int Rows { get; }

    /// <summary>All ids, in the order of the file.</summary>
    public Span<ushort> Experts => _experts;

    /// <summary>All predictions, in the order of the file; empty where there are none.</summary>
    public Span<ushort> Predicted => _predicted;

    /// <summary>(rows, experts per token) chosen by a layer's router.</summary>
    public Span<ushort> ExpertsOf(int layer) => _experts.AsSpan(layer * Rows * _chosen, Rows * _chosen);

    /// <summary>(rows, experts per token) predicted for a layer; empty for the first one and where look-ahead was off.</summary>
    public Span<ushort> PredictedOf(int layer) => layer == 0 || _predicted.Length == 0 ? default : _predicted.AsSpan((layer - 1) * Rows * _chosen, Rows * _chosen);
}
