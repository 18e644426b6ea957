// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Experts;

/// <summary>Decides which routed experts the GPU holds. A key is layer x experts of a layer + expert. Called by the thread that runs the passes.</summary>
internal interface IExpertPlacement
{
    /// <summary>What to hold from the first, at most <paramref name="count"/> keys of MoE layers, each once.</summary>
    IReadOnlyList<int> First(int count);

    /// <summary>Asked before a pass while nothing moves: an expert that should come in another one's place; null for none.</summary>
    /// <param name="held">By key: whether the GPU holds it.</param>
    ExpertMove? Next(ReadOnlySpan<bool> held);
}

/// <summary>One expert takes another one's slot.</summary>
internal readonly record struct ExpertMove(int In, int Out);
