// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Kernels;

/// <summary>silu(gate) * up, the activation of every MLP (arXiv:2002.05202).</summary>
internal static class SwiGlu
{
    /// <summary>gate = gate * sigmoid(gate) * up.</summary>
    public static void Apply(Span<float> gate, ReadOnlySpan<float> up) => RowMath.Apply<RowSwiGlu>(CpuFeatures.Best, gate, up, 1, gate);
}
