// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using System.Text;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>Which family of vector instructions a kernel uses.</summary>
internal enum InstructionSet
{
    /// <summary>The definition; one element after another.</summary>
    Scalar,

    /// <summary>.NET's 128-bit vectors: SSE, Arm64, WebAssembly.</summary>
    Vector128,

    /// <summary>256-bit AVX2 with FMA.</summary>
    Avx2,

    /// <summary>512-bit AVX-512 with the byte and word instructions, where .NET prefers such vectors.</summary>
    Avx512,
}

/// <summary>What this CPU and this runtime offer together.</summary>
internal static class CpuFeatures
{
    /// <summary>CPUID family of AMD's Zen 5.</summary>
    private const int FirstFamilyOfPages = 26;

    /// <summary>The widest usable family.</summary>
    public static InstructionSet Best { get; } =
        IsSupported(InstructionSet.Avx512) ? InstructionSet.Avx512
        : IsSupported(InstructionSet.Avx2) ? InstructionSet.Avx2
        : IsSupported(InstructionSet.Vector128) ? InstructionSet.Vector128
        : InstructionSet.Scalar;

    /// <summary>Usable families, narrowest first.</summary>
    public static IEnumerable<InstructionSet> Supported => Enum.GetValues<InstructionSet>().Where(IsSupported);

    /// <summary>For logs: the family in use, and what else bears on speed.</summary>
    public static string Description =>
        $"{Best}{(HasAvx512Vnni && Best < InstructionSet.Avx512 ? " (AVX-512 VNNI present)" : AvxVnni.IsSupported ? " (AVX-VNNI present)" : "")}";

    /// <summary>
    /// Whether the CPU has AVX-512 VNNI (CPUID leaf 7, ECX bit 11) and the system saves AVX-512 state. .NET has no
    /// intrinsics for it, but its own AVX-512 detection includes OSXSAVE and XGETBV (XCR0 bits 5 … 7). So do Cascade Lake and
    /// Cooper Lake, where <see cref="InstructionSet.Avx512"/> is not taken since they run at lower clocks with 512 bits: one dot product of these
    /// does what takes four to six instructions of 256 bits.
    /// </summary>
    public static bool HasAvx512Vnni { get; } = HasAvx512 && X86Base.CpuId(0, 0).Eax >= 7 && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>
    /// Whether the CPU has AVX512_BF16 (CPUID leaf 7, subleaf 1, EAX bit 5) besides <see cref="HasAvx512Vnni"/>, and .NET prefers 512 bits: on Intel's processors
    /// its dot products do no more than multiply-adds, and so less on one that runs at lower clocks with them.
    /// </summary>
    public static bool HasAvx512BFloat16 { get; } =
        HasAvx512Vnni && IsSupported(InstructionSet.Avx512) && X86Base.CpuId(7, 0).Eax >= 1 && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0;

    /// <summary>
    /// Whether dot products of BF16 come at the rate of single-precision multiply-adds, and so do twice as much: on AMD's Zen 4 and 5. Intel's Emerald Rapids
    /// starts one in the time of four multiply-adds, half as much.
    /// </summary>
    public static bool HasFastBFloat16 { get; } = AreFast(HasAvx512BFloat16, AmdFamily());

    /// <summary>Whether the CPU is Intel's.</summary>
    public static bool IsIntel { get; } = X86Base.IsSupported && X86Base.CpuId(0, 0) is (_, 0x756E6547, 0x6C65746E, 0x49656E69);

    /// <summary>
    /// One line of each page on AMD's Zen 5 (CPUID family 26) and its successors, where products of one token and INT4 rows are 1.2 to
    /// 1.4 times as fast with it as with every line, and those of streams 1.1 times; on Intel's Emerald Rapids 0.8 times. Each line twice on Intel's processors, where INT4 rows are 1.2 times as fast with
    /// it as with every line once (Emerald Rapids).
    /// </summary>
    public static PrefetchStyle PrefetchStyle { get; } = StyleOf(AmdFamily(), IsIntel);

    /// <summary>What the CPU calls itself; its architecture where it does not say.</summary>
    public static string Name { get; } = FindName();

    /// <summary>Whether CPU and system can run AVX-512, whatever width .NET prefers.</summary>
    private static bool HasAvx512 => Avx512BW.IsSupported && Avx512F.IsSupported;

    public static bool IsSupported(InstructionSet set) => set switch
    {
        InstructionSet.Scalar => true,
        InstructionSet.Vector128 => Vector128.IsHardwareAccelerated,
        InstructionSet.Avx2 => Avx2.IsSupported && Fma.IsSupported,
        InstructionSet.Avx512 => HasAvx512 && Vector512.IsHardwareAccelerated,
        _ => false,
    };

    /// <summary>The rule of <see cref="HasFastBFloat16"/>.</summary>
    /// <param name="hasProducts">Whether the CPU has these dot products at all.</param>
    /// <param name="amdFamily">0 where it is not AMD's.</param>
    internal static bool AreFast(bool hasProducts, int amdFamily) => hasProducts && amdFamily > 0;

    /// <summary>The rule of <see cref="PrefetchStyle"/>.</summary>
    /// <param name="amdFamily">0 where it is not AMD's.</param>
    /// <param name="isIntel">Whether it is Intel's.</param>
    internal static PrefetchStyle StyleOf(int amdFamily, bool isIntel) =>
        amdFamily >= FirstFamilyOfPages ? PrefetchStyle.EveryPage : isIntel ? PrefetchStyle.EveryLineTwice : PrefetchStyle.EveryLine;

    /// <summary>0 where the CPU is not AMD's.</summary>
    private static int AmdFamily()
    {
        const int BaseFamilyEnd = 15;
        if (!X86Base.IsSupported || X86Base.CpuId(0, 0) is not (_, 0x68747541, 0x444D4163, 0x69746E65))
        {
            return 0;
        }

        int signature = X86Base.CpuId(1, 0).Eax;
        int family = (signature >> 8) & 15;
        return family == BaseFamilyEnd ? family + ((signature >> 20) & 255) : family;
    }

    private static string FindName()
    {
        const int Extended = unchecked((int)0x80000000);
        const int FirstLeaf = Extended + 2;
        const int Leaves = 3;
        if (X86Base.IsSupported && (uint)X86Base.CpuId(Extended, 0).Eax >= unchecked((uint)(FirstLeaf + Leaves - 1)))
        {
            Span<byte> text = stackalloc byte[16 * Leaves];
            for (int i = 0; i < Leaves; i++)
            {
                (int a, int b, int c, int d) = X86Base.CpuId(FirstLeaf + i, 0);
                BinaryPrimitives.WriteInt32LittleEndian(text[(16 * i)..], a);
                BinaryPrimitives.WriteInt32LittleEndian(text[((16 * i) + 4)..], b);
                BinaryPrimitives.WriteInt32LittleEndian(text[((16 * i) + 8)..], c);
                BinaryPrimitives.WriteInt32LittleEndian(text[((16 * i) + 12)..], d);
            }

            return Encoding.ASCII.GetString(text).Trim('\0', ' ');
        }

        return RuntimeInformation.ProcessArchitecture.ToString();
    }
}
