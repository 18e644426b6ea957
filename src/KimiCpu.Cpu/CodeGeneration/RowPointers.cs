// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Up to four rows a stride apart, by three registers.</summary>
/// <param name="First">Address in the first row.</param>
/// <param name="Stride">Bytes from row to row.</param>
/// <param name="ThreeStrides">Three times as many.</param>
internal readonly record struct RowPointers(AssemblerRegister64 First, AssemblerRegister64 Stride, AssemblerRegister64 ThreeStrides)
{
    /// <summary>A vector of row 0 … 3.</summary>
    public AssemblerMemoryOperand this[int row] => row switch
    {
        0 => __zmmword_ptr[First],
        1 => __zmmword_ptr[First + Stride],
        2 => __zmmword_ptr[First + (Stride * 2)],
        _ => __zmmword_ptr[First + ThreeStrides],
    };

    /// <summary>Sets the last register by <see cref="Stride"/>.</summary>
    public void Complete(Assembler code) => code.lea(ThreeStrides, __qword_ptr[Stride + (Stride * 2)]);
}
