// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>The tile product as machine code written at start: one function for each number of tokens.</summary>
internal sealed unsafe class GeneratedTileKernel : TileKernel
{
    private static readonly Lazy<GeneratedTileKernel?> s_shared = new(TryCreate);

    private readonly ExecutableMemory _code;
    private readonly delegate* unmanaged<byte*, byte*, float*, long, byte*, void>[] _functions;

    private GeneratedTileKernel(ExecutableMemory code, long[] offsets)
        : base(TileKernelKind.GeneratedAvx512Vnni)
    {
        _code = code;
        _functions = new delegate* unmanaged<byte*, byte*, float*, long, byte*, void>[offsets.Length];
        for (int i = 0; i < offsets.Length; i++)
        {
            _functions[i] = (delegate* unmanaged<byte*, byte*, float*, long, byte*, void>)(code.Pointer + offsets[i]);
        }
    }

    /// <summary>One for the process; null where CPU, runtime or system do not allow it.</summary>
    public static GeneratedTileKernel? Shared => s_shared.Value;

    public override bool Prefetches => true;

    public override int MaxTokens => _functions.Length;

    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* lanes, byte* prefetch)
    {
        _functions[tokens - 1](weights, activations, lanes, blocks, prefetch);

        // The pages live as long as this object, which the running call keeps.
        GC.KeepAlive(_code);
    }

    /// <summary>The functions for 1, 2, … tokens and where each begins.</summary>
    internal static (byte[] Code, long[] Offsets) Assemble(CallingConvention convention)
    {
        using var stream = new MemoryStream();
        var offsets = new long[TileCode.MaxTokens(convention)];
        for (int i = 0; i < offsets.Length; i++)
        {
            while (stream.Length % 64 != 0)
            {
                stream.WriteByte(0xCC);
            }

            offsets[i] = stream.Length;
            var assembler = new Assembler(64);
            TileCode.Write(assembler, convention, i + 1);

            // All jumps are relative to the function, so the address it is assembled for does not matter.
            assembler.Assemble(new StreamCodeWriter(stream), (ulong)offsets[i]);
        }

        return (stream.ToArray(), offsets);
    }

    private static GeneratedTileKernel? TryCreate()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64 || !CpuFeatures.HasAvx512Vnni)
        {
            return null;
        }

        (byte[] code, long[] offsets) = Assemble(CallingConvention.Current);
        return ExecutableMemory.TryCreate(code) is { } memory ? new GeneratedTileKernel(memory, offsets) : null;
    }
}
