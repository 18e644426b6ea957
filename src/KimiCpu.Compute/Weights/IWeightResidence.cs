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
    /// <param name="weight">It is not held where this throws.</param>
    /// <param name="cancellationToken">Ends a read before its end.</param>
    /// <exception cref="Exception">Of <see cref="IWeightFiles.Failure"/>: a drive fails.</exception>
    /// <exception cref="OperationCanceledException">Nobody wants it any more.</exception>
    void Hold(WeightMatrix weight, CancellationToken cancellationToken = default);

    /// <summary>Once for every time that the weight was held; its memory is the system's after the last one.</summary>
    void LetGo(WeightMatrix weight);
}
