// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="Float8ActivationsArguments"/>*): activations times their blocks' scales, rounded to BF16 in the order
/// of <see cref="Kernels.Float8Codes"/>. Subnormal numbers become zeros.
/// </summary>
internal static class Float8ActivationsCode
{
    private const int VectorBytes = 64;

    /// <summary>Vectors of floats in a step.</summary>
    private const int Vectors = 4;

    public static void Write(Assembler code, CallingConvention convention)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        AssemblerRegister64 x = convention.Arguments[1], scales = convention.Arguments[2], target = convention.Arguments[3], stride = convention.Arguments[4];
        AssemblerRegister64 steps = convention.Scratch[0];
        IReadOnlyList<AssemblerRegisterZMM> v = convention.Vectors;
        AssemblerRegisterZMM scale = v[Vectors];
        Label block = code.CreateLabel();
        Label step = code.CreateLabel();
        code.mov(x, Field(arguments, nameof(Float8ActivationsArguments.X)));
        code.mov(scales, Field(arguments, nameof(Float8ActivationsArguments.Scales)));
        code.mov(target, Field(arguments, nameof(Float8ActivationsArguments.Target)));
        code.mov(stride, Field(arguments, nameof(Float8ActivationsArguments.TargetStride)));
        code.Label(ref block);
        code.vbroadcastss(scale, __dword_ptr[scales]);
        code.mov(steps, Field(arguments, nameof(Float8ActivationsArguments.StepsOfBlock)));
        code.Label(ref step);
        for (int i = 0; i < Vectors; i++)
        {
            code.vmulps(v[i], scale, __zmmword_ptr[x + (VectorBytes * i)]);
        }

        code.vcvtne2ps2bf16(v[0], v[1], v[0]);
        code.vcvtne2ps2bf16(v[2], v[3], v[2]);
        code.vshufi64x2(v[1], v[0], v[2], 0b10_00_10_00);
        code.vshufi64x2(v[0], v[0], v[2], 0b11_01_11_01);
        code.vmovups(__zmmword_ptr[target], v[1]);
        code.vmovups(__zmmword_ptr[target + stride], v[0]);
        code.lea(target, __qword_ptr[target + (stride * 2)]);
        code.add(x, Vectors * VectorBytes);
        code.dec(steps);
        code.jnz(step);
        code.add(scales, sizeof(float));
        code.dec(Field(arguments, nameof(Float8ActivationsArguments.Blocks)));
        code.jnz(block);
        code.vzeroupper();
        code.ret();
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<Float8ActivationsArguments>(name)];
}
