// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Routing;
using KimiCpu.Compute;

namespace KimiCpu.Cli.Bench;

/// <summary>
/// Puts the choices and predictions of a made-up trace in the place of the routers', so that a model with random weights
/// uses its experts as evenly or unevenly as a measurement wants. Passes of several tokens go where the routers say.
/// </summary>
internal sealed unsafe class ImposedRouting(IRoutedExperts inner, SyntheticRouting source, RoutingTraceHeader header) : IRoutedExperts
{
    private RoutingStep? _step;

    public long DriveBytesRead => inner.DriveBytesRead;

    public ExpertLookups Lookups => inner.Lookups;

    public void Run(int layer, RoutedRows rows, Span<float> sum)
    {
        if (rows.RowCount != 1)
        {
            inner.Run(layer, rows, sum);
            return;
        }

        int place = IndexOf(layer);
        if (place == 0)
        {
            _step = source.Next();
        }

        Impose(_step!.ExpertsOf(place), rows.Experts);
        if (rows.Predicted != null)
        {
            Impose(_step.PredictedOf(place + 1), rows.Predicted);
        }

        inner.Run(layer, rows, sum);
    }

    public void Dispose() => inner.Dispose();

    private static void Impose(Span<ushort> ids, int* target)
    {
        for (int i = 0; i < ids.Length; i++)
        {
            target[i] = ids[i];
        }
    }

    private int IndexOf(int layer)
    {
        for (int place = 0; place < header.MoeLayers.Count; place++)
        {
            if (header.MoeLayers[place] == layer)
            {
                return place;
            }
        }

        throw new ArgumentOutOfRangeException(nameof(layer), layer, "Not an MoE layer.");
    }
}
