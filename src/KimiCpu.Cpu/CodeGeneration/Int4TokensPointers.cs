// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>General registers of a function of <see cref="Int4TokensCode"/>: all that both conventions have.</summary>
/// <param name="Arguments">Where they are.</param>
/// <param name="Data">Weights of the step in the first row.</param>
/// <param name="RowBytes">From row to row.</param>
/// <param name="X">Activations.</param>
/// <param name="Unpacked">The step's weights.</param>
/// <param name="Temporary">Whatever is needed for a moment.</param>
/// <param name="Sums">Of the group.</param>
internal readonly record struct Int4TokensPointers(
    AssemblerRegister64 Arguments, AssemblerRegister64 Data, AssemblerRegister64 RowBytes, AssemblerRegister64 X, AssemblerRegister64 Unpacked, AssemblerRegister64 Temporary, AssemblerRegister64 Sums)
{
    /// <summary>Where activations are asked for, while tiles are multiplied.</summary>
    public AssemblerRegister64 XAhead => RowBytes;

    public AssemblerMemoryOperand Field(string name) => __qword_ptr[Arguments + (int)Marshal.OffsetOf<Int4TokensArguments>(name)];
}
