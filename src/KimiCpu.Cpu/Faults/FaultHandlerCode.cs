// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.Faults;

/// <summary>
/// Writes void(int signal, siginfo*, ucontext*) for Linux on x64: a page of a watched mapping that cannot be read (its file
/// was cut, its drive fails) is replaced by a page of zeros and noted; any other fault goes to the handler that was there
/// before. Managed code may be interrupted anywhere, so none runs here: only registers, the table and one system call. What
/// is clobbered does not matter, since the kernel restores all registers on return.
/// </summary>
internal static class FaultHandlerCode
{
    /// <summary>Where siginfo_t has the address.</summary>
    private const int FaultAddress = 16;
    private const int SystemCallMap = 9;
    private const int ProtectionRead = 1;

    /// <summary>MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS.</summary>
    private const int PrivateFixedAnonymous = 0x32;
    private const int PageBytes = 4096;

    /// <param name="code">Receives the instructions.</param>
    /// <param name="table">Address of the <see cref="WatchTable"/>.</param>
    /// <param name="previous">Address of the handler to go on to; 0 or 1 where there is none.</param>
    public static void Write(Assembler code, ulong table, ulong previous)
    {
        Label next = code.CreateLabel();
        Label search = code.CreateLabel();
        Label foreign = code.CreateLabel();
        code.mov(r12, rdi);
        code.mov(r13, rsi);
        code.mov(r14, rdx);
        code.mov(r15, __[rsi + FaultAddress]);
        code.mov(rbx, table);
        code.mov(rcx, WatchTable.Capacity);
        code.Label(ref search);
        code.cmp(r15, __[rbx + WatchTable.StartAt]);
        code.jb(next);
        code.cmp(r15, __[rbx + WatchTable.EndAt]);
        code.jae(next);

        code.mov(eax, SystemCallMap);
        code.mov(rdi, r15);
        code.and(rdi, -PageBytes);
        code.mov(esi, PageBytes);
        code.mov(edx, ProtectionRead);
        code.mov(r10d, PrivateFixedAnonymous);
        code.mov(r8, -1L);
        code.xor(r9d, r9d);
        code.syscall();
        code.cmp(rax, -PageBytes);
        code.ja(foreign);
        code.mov(__[rbx + WatchTable.FaultAt], r15);
        code.ret();

        code.Label(ref next);
        code.add(rbx, WatchTable.EntryBytes);
        code.dec(rcx);
        code.jnz(search);

        code.Label(ref foreign);
        if (previous <= 1)
        {
            // Nobody else handles it: the process ends, as it would have.
            code.ud2();
            return;
        }

        code.mov(rdi, r12);
        code.mov(rsi, r13);
        code.mov(rdx, r14);
        code.mov(rax, previous);
        code.jmp(rax);
    }
}
