// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Routing;

/// <summary>
/// A trace as a cache sees it: for every forward pass and MoE layer the different experts that its rows need, as rising keys
/// (MoE layer x experts per layer + expert). The first passes may be left out of what is counted, and so are those of
/// several rows, prompts, where there are passes of one row.
/// </summary>
internal sealed class TraceAccesses
{
    private readonly int[] _keys;
    private readonly int[] _predicted;

    /// <summary>(passes x layers + 1) where the keys of a layer of a pass begin.</summary>
    private readonly int[] _keyStarts;
    private readonly int[] _predictedStarts;
    private readonly bool[] _counted;

    /// <param name="trace">What was recorded.</param>
    /// <param name="warmup">Passes at the beginning that fill the cache and are not counted.</param>
    /// <exception cref="ArgumentOutOfRangeException">Nothing is left to count.</exception>
    public TraceAccesses(RoutingTrace trace, int warmup)
    {
        Header = trace.Header;
        Steps = trace.Steps.Count;
        if (warmup < 0 || warmup >= Steps)
        {
            throw new ArgumentOutOfRangeException(nameof(warmup), $"The trace has {Steps:N0} forward passes; a warm-up of {warmup:N0} leaves none to count. It can be 0 … {Math.Max(0, Steps - 1):N0}.");
        }

        bool decodes = trace.Steps.Skip(warmup).Any(s => s.Rows == 1);
        _counted = [.. trace.Steps.Select((s, i) => i >= warmup && (s.Rows == 1 || !decodes))];
        Tokens = trace.Steps.Where((_, i) => _counted[i]).Sum(s => s.Rows);
        var keys = new List<int>();
        var predicted = new List<int>();
        var keyStarts = new List<int> { 0 };
        var predictedStarts = new List<int> { 0 };
        long found = 0;
        long asked = 0;
        for (int step = 0; step < Steps; step++)
        {
            for (int layer = 0; layer < Layers; layer++)
            {
                Span<ushort> chosen = trace.Steps[step].ExpertsOf(layer);
                Span<ushort> expected = trace.Steps[step].PredictedOf(layer);
                Append(keys, keyStarts, chosen, layer);
                Append(predicted, predictedStarts, expected, layer);
                if (_counted[step] && expected.Length > 0)
                {
                    found += Found(chosen, expected);
                    asked += chosen.Length;
                }
            }
        }

        _keys = [.. keys];
        _predicted = [.. predicted];
        _keyStarts = [.. keyStarts];
        _predictedStarts = [.. predictedStarts];
        Recall = asked > 0 ? (double)found / asked : null;
    }

    public RoutingTraceHeader Header { get; }

    /// <summary>Forward passes.</summary>
    public int Steps { get; }

    /// <summary>MoE layers.</summary>
    public int Layers => Header.MoeLayers.Count;

    /// <summary>Tokens of the counted passes.</summary>
    public int Tokens { get; }

    /// <summary>Part of the chosen experts that were predicted, token by token; null without predictions.</summary>
    public double? Recall { get; }

    /// <summary>All keys of all passes in order.</summary>
    public ReadOnlySpan<int> AllKeys => _keys;

    public bool IsCounted(int step) => _counted[step];

    public ReadOnlySpan<int> KeysOf(int step, int layer) => Slice(_keys, _keyStarts, step, layer);

    /// <summary>Predicted for a layer; empty where nothing was.</summary>
    public ReadOnlySpan<int> PredictedOf(int step, int layer) => Slice(_predicted, _predictedStarts, step, layer);

    /// <summary>Experts that were predicted for the token that chose them.</summary>
    private int Found(ReadOnlySpan<ushort> chosen, ReadOnlySpan<ushort> expected)
    {
        int found = 0;
        for (int i = 0; i < chosen.Length; i++)
        {
            int row = i / Header.ExpertsPerToken * Header.ExpertsPerToken;
            found += expected.Slice(row, Header.ExpertsPerToken).Contains(chosen[i]) ? 1 : 0;
        }

        return found;
    }

    private ReadOnlySpan<int> Slice(int[] keys, int[] starts, int step, int layer)
    {
        int at = (step * Layers) + layer;
        return keys.AsSpan(starts[at], starts[at + 1] - starts[at]);
    }

    private void Append(List<int> keys, List<int> starts, ReadOnlySpan<ushort> ids, int layer)
    {
        int first = layer * Header.ExpertCount;
        foreach (ushort id in ids.ToArray().Distinct().Order())
        {
            keys.Add(first + id);
        }

        starts.Add(keys.Count);
    }
}
