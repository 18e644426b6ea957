// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Up to eight rows a stride apart, by four registers.</summary>
/// <param name="First">Address in the first row.</param>
/// <param name="Fifth">The same in the fifth.</param>
/// <param name="Stride">Bytes from row to row.</param>
/// <param name="ThreeStrides">Three times as many.</param>
internal readonly record struct RowPointers(AssemblerRegister64 First, AssemblerRegister64 Fifth, AssemblerRegister64 Stride, AssemblerRegister64 ThreeStrides)
{
    /// <summary>A vector of row 0 … 7.</summary>
    public AssemblerMemoryOperand this[int row]
    {
        get
        {
            AssemblerRegister64 first = row < 4 ? First : Fifth;
            return (row % 4) switch
            {
                0 => __zmmword_ptr[first],
                1 => __zmmword_ptr[first + Stride],
                2 => __zmmword_ptr[first + (Stride * 2)],
                _ => __zmmword_ptr[first + ThreeStrides],
            };
        }
    }

    /// <summary>Sets the other registers by <see cref="First"/> and <see cref="Stride"/>.</summary>
    public void Complete(Assembler code)
    {
        code.lea(ThreeStrides, __qword_ptr[Stride + (Stride * 2)]);
        CompleteFifth(code);
    }

    /// <summary>Sets the fifth row's address where the first's has changed.</summary>
    public void CompleteFifth(Assembler code) => code.lea(Fifth, __qword_ptr[First + (Stride * 4)]);

    public void Advance(Assembler code, int bytes)
    {
        code.add(First, bytes);
        code.add(Fifth, bytes);
    }
}
