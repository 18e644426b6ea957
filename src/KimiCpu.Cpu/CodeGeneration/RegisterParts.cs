// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>The names of a register's lower parts.</summary>
internal static class RegisterParts
{
    public static AssemblerRegister32 Lower(this AssemblerRegister64 register) => new(((Register)register).GetFullRegister32());

    public static AssemblerRegisterYMM LowerHalf(this AssemblerRegisterZMM register) => new((Register)register - Register.ZMM0 + Register.YMM0);

    public static AssemblerRegisterXMM Lowest(this AssemblerRegisterZMM register) => new((Register)register - Register.ZMM0 + Register.XMM0);
}
