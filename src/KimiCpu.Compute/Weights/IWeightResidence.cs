// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>
/// Weights that lie in memory of their own, and are there for as long as somebody holds them: who copies them elsewhere lets them go. A
/// weight's address stays the same. Safe for several threads.
/// </summary>
internal interface IWeightResidence
{
    /// <summary>Reads a weight that is not there.</summary>
    /// <exception cref="Exception">Of <see cref="IWeightFiles.Failure"/>: a drive fails. The weight is then not held.</exception>
    void Hold(WeightMatrix weight);

    /// <summary>Once for every time that the weight was held; its memory is the system's after the last one.</summary>
    void LetGo(WeightMatrix weight);
}
