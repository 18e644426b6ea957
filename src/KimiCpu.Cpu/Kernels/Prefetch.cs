// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Asks for memory that comes next, into the second-level cache: the first has too few miss buffers to wait for memory. Asking
/// behind a mapping does not fault.
/// </summary>
internal static unsafe class Prefetch
{
    /// <summary>Hardware prefetchers stop at pages of this size, also within larger ones.</summary>
    public const int PageBytes = 4096;

    /// <summary>Four pages ahead: one leaves memory's latency uncovered at times, 32 gained no more.</summary>
    public const int PagesAhead = 4 * PageBytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Line(byte* at)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch1(at);
        }
    }

    /// <summary>A line of a stream, where each of its lines is asked for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void NextLine(byte* at)
    {
        if (CpuFeatures.PrefetchStyle != PrefetchStyle.EveryPage)
        {
            Line(at);
        }
    }

    /// <summary>A line that <see cref="NextLine"/> has asked for before, shortly before it is read, into the first level, where each line is asked for twice.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void NearLine(byte* at)
    {
        if (CpuFeatures.PrefetchStyle == PrefetchStyle.EveryLineTwice)
        {
            Sse.Prefetch0(at);
        }
    }

    /// <summary>
    /// The first line of a stream's page, with the first call in it, where one of each page is asked for: the hardware goes on from there, and
    /// lines before it would be waited for.
    /// </summary>
    /// <param name="at">Moves on by <paramref name="bytes"/> from call to call.</param>
    /// <param name="bytes">Less than a page.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void NextPage(byte* at, int bytes)
    {
        if (CpuFeatures.PrefetchStyle == PrefetchStyle.EveryPage && ((nuint)at & (PageBytes - 1)) < (nuint)bytes)
        {
            Line((byte*)((nuint)at & ~(nuint)(PageBytes - 1)));
        }
    }
}
