// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.HotPath;

/// <summary>Puts linear layers into the stream, with kernels for a few rows or for many.</summary>
/// <param name="kernels">Of the GPU.</param>
/// <param name="memory">Where inputs are split.</param>
/// <param name="stream">Where to.</param>
/// <param name="manyRows">Fewest rows that go to the kernels for many.</param>
internal sealed class LinearProgram(KernelSet kernels, Workspace memory, CudaStream stream, int manyRows)
{
    /// <summary>
    /// The kernel for few rows reads a weight anew for every eight. A block of the other one multiplies 64 rows twice, for either
    /// part, however many there are: 256 operations for a weight, 128 for each of its bytes in BF16. A GPU that does 76
    /// for a byte that it reads (GeForce RTX 3090: 71 TFLOP/s, 936 GB/s) needs as long as 1.7 readings for that, a few more where
    /// a narrow weight leaves part of the GPU idle: 4 readings, which are 32 rows. Computed for kernels that read at full speed, not measured.
    /// </summary>
    public const int DefaultManyRows = 32;

    public bool TakesMany(int rows) => rows >= manyRows;

    /// <summary>Whether so many rows of gate and up give silu(gate) * up at once: <see cref="LinearLayer.Gates"/>.</summary>
    public bool CanGate(DeviceWeight gate, DeviceWeight up, int rows) => !TakesMany(rows) && KernelSet.SuitsGate(gate, up);

    public void Put(in LinearLayer layer, int rows)
    {
        DeviceWeight weight = layer.Weight;
        if (layer.Second is { } other && (other.Format != weight.Format || KernelSet.SuitsGemm(other) != KernelSet.SuitsGemm(weight)))
        {
            Put(layer with { Second = null }, rows);
            Put(layer with { Weight = other, Output = layer.SecondOutput, Second = null }, rows);
        }
        else if (TakesMany(rows) && layer.RowMap == 0 && KernelSet.SuitsGemm(weight))
        {
            PutMany(layer, rows);
        }
        else
        {
            kernels.Linear(stream, weight.Format, new LinearArguments
            {
                First = weight.Matrix,
                Second = layer.Second is null ? default : layer.Second.Matrix,
                FirstOutput = layer.Output,
                SecondOutput = layer.SecondOutput,
                Input = layer.Input,
                Aside = layer.Aside,
                RowMap = layer.RowMap,
                Batch = (uint)rows,
                Mode = layer.Mode,
                Output = layer.Gates ? LinearOutput.Gated : layer.Accumulate ? LinearOutput.Added : LinearOutput.Stored,
                Epsilon = layer.Epsilon,
            });
        }
    }

    private void PutMany(in LinearLayer layer, int rows)
    {
        DeviceMatrix weight = layer.Weight.Matrix;
        var stride = (uint)KernelSet.PartStride((int)weight.Columns);
        kernels.Split(stream, rows, new SplitArguments
        {
            Input = layer.Input,
            Aside = layer.Aside,
            Parts = memory.Parts,
            Columns = weight.Columns,
            Stride = stride,
            Mode = layer.Mode,
            ForBytes = KernelSet.ForBytes(layer.Weight.Format),
            Epsilon = layer.Epsilon,
        });
        kernels.Gemm(stream, layer.Weight.Format, new GemmArguments
        {
            First = weight,
            Second = layer.Second is null ? default : layer.Second.Matrix,
            FirstOutput = layer.Output,
            SecondOutput = layer.SecondOutput,
            Input = memory.Parts,
            Batch = (uint)rows,
            Stride = stride,
            Accumulate = layer.Accumulate ? 1u : 0,
            Heads = 1,
            HeadRows = weight.Rows,
        });
    }
}

/// <summary>One or two weights with the same input, by addresses on the device.</summary>
internal readonly record struct LinearLayer(DeviceWeight Weight, ulong Input, ulong Output)
{
    public LinearInput Mode { get; init; }

    /// <summary>What <see cref="Mode"/> needs: gain or up.</summary>
    public ulong Aside { get; init; }

    public float Epsilon { get; init; }

    public DeviceWeight? Second { get; init; }

    public ulong SecondOutput { get; init; }

    /// <summary>Adds to what the output holds.</summary>
    public bool Accumulate { get; init; }

    /// <summary>Puts silu(first) * second into <see cref="Output"/>, where <see cref="LinearProgram.CanGate"/>.</summary>
    public bool Gates { get; init; }

    /// <summary>Which row of the input each row is; 0 for the same.</summary>
    public ulong RowMap { get; init; }
}
