// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>An entry of a PTX module, ready to run.</summary>
internal sealed class PtxKernel
{
    private bool? _raisesFlag;

    public required string Name { get; init; }

    public required IReadOnlyList<PtxParameter> Parameters { get; init; }

    public required int ParameterBytes { get; init; }

    public required PtxInstruction[] Code { get; init; }

    /// <summary>Statically declared shared memory; the dynamic kind begins behind it.</summary>
    public required int SharedBytes { get; init; }

    public required int MaxThreads { get; init; }

    /// <summary>Bytes of a warp's register file, constants first.</summary>
    public required int RegisterBytes { get; init; }

    /// <summary>What immediate operands and addresses occupy at the beginning of a register file.</summary>
    public required byte[] Constants { get; init; }

    /// <summary>Where the special registers lie in a register file, by <see cref="SpecialRegister"/>.</summary>
    public required int[] SpecialRegisters { get; init; }

    /// <summary>Whether somebody may wait for what it writes while it runs.</summary>
    public bool RaisesFlag => _raisesFlag ??= Code.Any(i => i.Text.Contains("st.volatile", StringComparison.Ordinal));
}

internal readonly record struct PtxParameter(string Name, int Offset, int Bytes);

/// <summary>Read-only registers that say where a thread is.</summary>
internal enum SpecialRegister
{
    ThreadX,
    ThreadCountX,
    BlockX,
    BlockY,
    BlockZ,
    GridX,
    GridY,
    GridZ,
}

/// <summary>How control flow sees an instruction.</summary>
internal enum PtxFlow
{
    /// <summary>Each lane for itself.</summary>
    Straight,

    /// <summary>All lanes of a warp together.</summary>
    WarpWide,

    Branch,
    Return,

    /// <summary>All warps of a block together.</summary>
    Barrier,
}

/// <summary>One instruction, decoded. Operands are byte offsets into the register file of a warp.</summary>
internal sealed unsafe class PtxInstruction
{
    public required string Text { get; init; }

    public required int Line { get; init; }

    public required PtxFlow Flow { get; init; }

    /// <summary>Runs the instruction for the lanes of a mask; null for control flow.</summary>
    public delegate*<PtxInstruction, PtxWarp, uint, void> Execute { get; set; }

    /// <summary>Predicate that lanes must have; -1 for none.</summary>
    public int Guard { get; set; } = -1;

    public bool GuardNegated { get; set; }

    /// <summary>Index of the instruction that a branch goes to.</summary>
    public int Target { get; set; }

    /// <summary>Registers written; -1 for what is thrown away.</summary>
    public int[] Destinations { get; set; } = [];

    public int[] Sources { get; set; } = [];

    /// <summary>Register with an address; memory instructions only.</summary>
    public int Base { get; set; }

    public long Offset { get; set; }

    /// <summary>Its place in the code.</summary>
    public int Index { get; set; }

    public int Destination => Destinations[0];
}
