// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli.Routing;

namespace KimiCpu.Tests.Cli.Routing;

/// <summary>Small traces for tests.</summary>
internal static class Traces
{
    public static RoutingTraceHeader Header(int layers, int experts, int chosen, bool predictions = false) => new()
    {
        Model = new UInt128(1, 2),
        ModelName = "model",
        Source = "a test",
        LayerCount = layers + 1,
        ExpertCount = experts,
        ExpertsPerToken = chosen,
        ExpertBytes = 1000,
        MoeLayers = [.. Enumerable.Range(1, layers)],
        HasPredictions = predictions,
    };

    public static RoutingTrace Synthetic(int layers, int experts, int chosen, int tokens, double exponent, double? recall = null, ulong seed = 1, double locality = 0)
    {
        RoutingTraceHeader header = Header(layers, experts, chosen, recall is not null);
        var routing = new SyntheticRouting(header, exponent, locality, recall ?? 0, seed);
        return new RoutingTrace(header, [.. Enumerable.Range(0, tokens).Select(_ => routing.Next())]);
    }

    /// <summary>One layer, one expert a token.</summary>
    public static RoutingTrace Of(int experts, params int[] uses)
    {
        RoutingTraceHeader header = Header(1, experts, 1);
        return new RoutingTrace(header, [.. uses.Select(u =>
        {
            var step = new RoutingStep(header, 1);
            step.Experts[0] = (ushort)u;
            return step;
        })]);
    }
}
