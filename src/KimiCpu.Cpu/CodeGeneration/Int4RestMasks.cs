// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What there is of a row behind its whole steps of 512 columns, as generated functions read it: which bytes of four vectors, and which of 16 scales.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct Int4RestMasks
{
    private const int VectorBytes = 64;
    private const int StepBytes = LaneSum.Lanes * Int4Group32.GroupSize / 2;

    private readonly ulong _vector0;
    private readonly ulong _vector1;
    private readonly ulong _vector2;
    private readonly ulong _vector3;
    private readonly ulong _scales;

    public Int4RestMasks(int columns, int wholeSteps)
    {
        long bytes = Int4Group32.RowBytes(columns) - (wholeSteps * StepBytes);
        int groups = Int4Group32.GroupsPerRow(columns) - (wholeSteps * LaneSum.Lanes);
        ScaleBytes = sizeof(ushort) * groups;
        _vector0 = Lowest(bytes);
        _vector1 = Lowest(bytes - VectorBytes);
        _vector2 = Lowest(bytes - (2 * VectorBytes));
        _vector3 = Lowest(bytes - (3 * VectorBytes));
        _scales = Lowest(groups);
    }

    /// <summary>Bytes of scales.</summary>
    public long ScaleBytes { get; }

    /// <summary>Loads them into k1 … k4 and k5, from where <see cref="Int4Code"/> takes them.</summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="arguments">Points to what holds them.</param>
    /// <param name="offset">Where they are in it.</param>
    public static void Load(Assembler code, AssemblerRegister64 arguments, nint offset)
    {
        AssemblerRegisterK[] masks = [k1, k2, k3, k4, k5];
        for (int i = 0; i < masks.Length; i++)
        {
            code.kmovq(masks[i], __qword_ptr[arguments + ((int)offset + (sizeof(ulong) * i))]);
        }
    }

    private static ulong Lowest(long bits) => bits <= 0 ? 0 : bits >= 64 ? ulong.MaxValue : (1UL << (int)bits) - 1;
}
