// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Experts;

/// <summary>Decides how many experts of a layer pass through the GPU, by what both sides took for earlier ones. Called by the thread that runs the passes.</summary>
internal interface IStreamSplit
{
    /// <param name="layer">An MoE layer.</param>
    /// <param name="tokens">Of each expert that the GPU does not hold, the most used one first; at least 1 each.</param>
    /// <returns>How many of the first ones to stream; 0 for none.</returns>
    int Choose(int layer, ReadOnlySpan<int> tokens);

    /// <summary>Told what a layer took.</summary>
    void Note(in StreamedLayer took);
}

/// <summary>What the two sides took for the experts of a layer.</summary>
/// <param name="Streamed">Experts that passed through the GPU.</param>
/// <param name="GpuSeconds">From the first one's first byte to the last one's last product; 0 where there were none.</param>
/// <param name="Left">Experts that the CPU computed.</param>
/// <param name="LeftTokens">Tokens of these, each counted for every expert that it chose.</param>
/// <param name="CpuSeconds">That it took for them.</param>
internal readonly record struct StreamedLayer(int Streamed, double GpuSeconds, int Left, long LeftTokens, double CpuSeconds);
