// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Cli.Routing;

/// <summary>
/// Routing of models that are not here. In every layer the experts are popular by Zipf's law, the r-th most popular in
/// proportion to r^-exponent (0 is flat), in an order of the layer's own; a token's experts are drawn by it without repeats.
/// </summary>
internal sealed class SyntheticRouting
{
    private readonly RoutingTraceHeader _header;
    private readonly RandomSource _random;
    private readonly double _locality;
    private readonly double _recall;

    /// <summary>Popularity by layer and expert.</summary>
    private readonly double[][] _weights;
    private readonly double[] _keys;
    private readonly ushort[] _ids;
    private ushort[]? _last;

    /// <param name="header">The shape.</param>
    /// <param name="exponent">0 or more.</param>
    /// <param name="locality">Chance that an expert of the token before is used again before any is drawn, 0 … 1.</param>
    /// <param name="recall">Chance that an expert is among the predicted ones, 0 … 1.</param>
    /// <param name="seed">Same seed, same trace.</param>
    public SyntheticRouting(RoutingTraceHeader header, double exponent, double locality, double recall, ulong seed)
    {
        _header = header;
        _locality = locality;
        _recall = recall;
        _random = new RandomSource(seed);
        double[] law = [.. Enumerable.Range(1, header.ExpertCount).Select(r => Math.Pow(r, -exponent))];
        _weights = [.. header.MoeLayers.Select(_ => Shuffled(law))];
        _keys = new double[header.ExpertCount];
        _ids = new ushort[header.ExpertCount];
    }

    /// <summary>The next token.</summary>
    public RoutingStep Next()
    {
        var step = new RoutingStep(_header, rows: 1);
        int chosen = _header.ExpertsPerToken;
        for (int layer = 0; layer < _header.MoeLayers.Count; layer++)
        {
            Draw(_weights[layer], _last.AsSpan(_last is null ? 0 : layer * chosen, _last is null ? 0 : chosen), step.ExpertsOf(layer));
            if (layer > 0 && _header.HasPredictions)
            {
                Predict(_weights[layer], step.ExpertsOf(layer), step.PredictedOf(layer));
            }
        }

        _last = step.Experts.ToArray();
        return step;
    }

    private double[] Shuffled(double[] law)
    {
        double[] weights = [.. law];
        for (int i = weights.Length - 1; i > 0; i--)
        {
            int other = (int)(_random.NextDouble() * (i + 1));
            (weights[i], weights[other]) = (weights[other], weights[i]);
        }

        return weights;
    }

    /// <summary>The smallest of exponential times with the weights as rates are a draw without repeats (Efraimidis and Spirakis, 2006).</summary>
    private void Draw(double[] weights, ReadOnlySpan<ushort> before, Span<ushort> chosen)
    {
        for (int e = 0; e < weights.Length; e++)
        {
            _keys[e] = -Math.Log(1 - _random.NextDouble()) / weights[e];
            _ids[e] = (ushort)e;
        }

        foreach (ushort expert in before)
        {
            if (_random.NextDouble() < _locality)
            {
                _keys[expert] = -1;
            }
        }

        Array.Sort(_keys, _ids);
        _ids.AsSpan(0, chosen.Length).CopyTo(chosen);
    }

    /// <summary>Some of the experts to come, and others in place of the rest.</summary>
    private void Predict(double[] weights, ReadOnlySpan<ushort> chosen, Span<ushort> predicted)
    {
        int kept = 0;
        foreach (ushort expert in chosen)
        {
            if (_random.NextDouble() < _recall)
            {
                predicted[kept++] = expert;
            }
        }

        var others = new ushort[Math.Min(2 * chosen.Length, weights.Length)];
        Draw(weights, [], others);
        foreach (ushort expert in others)
        {
            if (kept < predicted.Length && !chosen.Contains(expert))
            {
                predicted[kept++] = expert;
            }
        }

        // Where the model has too few experts to be wrong about, the prediction is right.
        foreach (ushort expert in chosen)
        {
            if (kept < predicted.Length && !predicted[..kept].Contains(expert))
            {
                predicted[kept++] = expert;
            }
        }
    }
}
