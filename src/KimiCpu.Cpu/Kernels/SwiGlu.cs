// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;

namespace KimiCpu.Cpu.Kernels;

/// <summary>silu(gate) * up, the activation of every MLP (arXiv:2002.05202).</summary>
internal static class SwiGlu
{
    /// <summary>gate = gate * sigmoid(gate) * up. <paramref name="scratch"/> has the length of gate and is overwritten.</summary>
    public static void Apply(Span<float> gate, ReadOnlySpan<float> up, Span<float> scratch)
    {
        TensorPrimitives.Sigmoid(gate, scratch);
        TensorPrimitives.Multiply(gate, scratch, gate);
        TensorPrimitives.Multiply(gate, up, gate);
    }
}
