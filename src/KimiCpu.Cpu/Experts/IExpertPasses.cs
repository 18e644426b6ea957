// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>
/// Experts of a layer in two passes over their weights. All gate and up items are done before the first down block;
/// items and blocks run on several workers at once.
/// </summary>
internal unsafe interface IExpertPasses : IDisposable
{
    /// <summary>Items of an expert in the first pass, of about equal bytes; valid after <see cref="Prepare"/>.</summary>
    int GateUpItems { get; }

    /// <summary>Takes a layer and a batch; rounds or gathers activations. May use the pool.</summary>
    /// <param name="layer">Which.</param>
    /// <param name="rows">Hidden rows and what their tokens chose.</param>
    /// <param name="groups">The tokens of each expert.</param>
    /// <param name="weights">By group; filled by the time that an item of it runs.</param>
    void Prepare(int layer, RoutedRows rows, ExpertGroups groups, MlpWeights[] weights);

    /// <summary>Items of an expert one after another.</summary>
    /// <param name="group">Of which expert.</param>
    /// <param name="firstItem">0 … <see cref="GateUpItems"/> - 1.</param>
    /// <param name="items">1 … <see cref="ExpertRuns.MostItems"/>, up to the last item at most.</param>
    /// <param name="worker">For scratch memory.</param>
    void GateUp(int group, int firstItem, int items, int worker);

    /// <summary>sum[t * sumStride + r] += the outputs of the experts of some groups, row firstRow + r of token t, times their factors.</summary>
    /// <param name="firstGroup">Of the groups.</param>
    /// <param name="endGroup">Behind the last of them.</param>
    /// <param name="firstRow">A multiple of 32.</param>
    /// <param name="rows">At most 32 for each of <see cref="ExpertRuns.MostItems"/>.</param>
    /// <param name="sum">(tokens, rows).</param>
    /// <param name="sumStride">Floats from token to token.</param>
    /// <param name="worker">For scratch memory.</param>
    void Down(int firstGroup, int endGroup, int firstRow, int rows, float* sum, long sumStride, int worker);
}
