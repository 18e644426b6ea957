// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Where arguments lie and which registers a function may overwrite without saving them. Generated functions use no
/// others and no stack, so they are leaves that need no unwind information.
/// </summary>
internal sealed class CallingConvention
{
    private CallingConvention(string name, AssemblerRegister64[] arguments, AssemblerRegister64[] scratch, AssemblerRegisterZMM[] vectors)
    {
        Name = name;
        Arguments = arguments;
        Scratch = scratch;
        Vectors = vectors;
    }

    public static CallingConvention SystemV { get; } = new(
        "System V",
        [AssemblerRegisters.rdi, AssemblerRegisters.rsi, AssemblerRegisters.rdx, AssemblerRegisters.rcx, AssemblerRegisters.r8],
        [AssemblerRegisters.rax, AssemblerRegisters.r9],
        [.. ZmmRange(0, 32)]);

    /// <summary>The lower 128 bits of vector registers 6 … 15 belong to the caller.</summary>
    public static CallingConvention WindowsX64 { get; } = new(
        "Windows x64",
        [AssemblerRegisters.rcx, AssemblerRegisters.rdx, AssemblerRegisters.r8, AssemblerRegisters.r9, AssemblerRegisters.r11],
        [AssemblerRegisters.rax, AssemblerRegisters.r10],
        [.. ZmmRange(0, 6), .. ZmmRange(16, 32)]);

    public static CallingConvention Current => OperatingSystem.IsWindows() ? WindowsX64 : SystemV;

    public string Name { get; }

    public IReadOnlyList<AssemblerRegister64> Arguments { get; }

    public IReadOnlyList<AssemblerRegister64> Scratch { get; }

    public IReadOnlyList<AssemblerRegisterZMM> Vectors { get; }

    private static IEnumerable<AssemblerRegisterZMM> ZmmRange(int first, int end) =>
        Enumerable.Range(first, end - first).Select(i => new AssemblerRegisterZMM((Register)((int)Register.ZMM0 + i)));
}
