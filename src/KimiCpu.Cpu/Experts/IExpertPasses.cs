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
    /// <summary>Items of the first pass, of about equal bytes; valid after <see cref="Prepare"/>.</summary>
    int GateUpItems { get; }

    /// <summary>Takes a layer and a batch; rounds or gathers activations. May use the pool.</summary>
    void Prepare(int layer, RoutedRows rows, ExpertGroups groups);

    void GateUp(int item, int worker);

    /// <summary>sum[t, firstRow … firstRow + rows - 1] += the experts' outputs times their factors.</summary>
    /// <param name="firstRow">A multiple of 32.</param>
    /// <param name="rows">At most 32.</param>
    /// <param name="sum">(tokens, hidden).</param>
    /// <param name="worker">For scratch memory.</param>
    void Down(int firstRow, int rows, float* sum, int worker);
}
