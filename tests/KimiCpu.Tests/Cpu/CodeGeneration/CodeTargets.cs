// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.CodeGeneration;

/// <summary>What code can be generated for.</summary>
internal static class CodeTargets
{
    /// <summary>Every style with and without GFNI; slow tables and slow products of BF16, which bear on few functions, once.</summary>
    public static IEnumerable<CodeTarget> All =>
    [
        .. Enum.GetValues<PrefetchStyle>().SelectMany(style => new CodeTarget[] { new(style, false, false, false), new(style, true, false, false) }),
        new(PrefetchStyle.EveryLineTwice, true, true, true),
    ];

    /// <summary>Those whose code this CPU can run, if it can run any.</summary>
    public static IEnumerable<CodeTarget> Runnable => All.Where(target => !target.HasGaloisField || Gfni.V512.IsSupported);
}
