// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Products of one token read a range of rows in four places at once, a quarter of the range each, row behind row: one core of
/// Zen 5 reads more from four such streams than from one (loads alone: 37 GB/s beside 29). Rows side by side break off and begin
/// elsewhere after each row, where prefetchers have to find them anew.
/// </summary>
internal static class StreamCode
{
    /// <summary>Rows at once; one where a range ends.</summary>
    public const int Rows = 4;

    /// <summary>Bytes ahead in each stream, into the second-level cache; chosen on Zen 5, where 1024 and 4096 were no better, and not measured where it is used.</summary>
    private const int LineDistance = 2048;

    /// <summary>
    /// Bytes ahead with <see cref="PrefetchStyle.EveryPage"/>, into the first level: one core of Zen 5 reads a tenth more
    /// than with the other distance (768 and 1536 are as good, 256 and 512 worse for long rows), since no line that was asked for is dropped. With <see cref="PrefetchStyle.EveryLineTwice"/> both:
    /// one core of Emerald Rapids reads a tenth more than with the other distance alone (512 and 1536 are as good).
    /// </summary>
    private const int NearDistance = 1024;

    /// <summary>
    /// Asks for what comes later in each stream, with each line that they move on by. On Zen 5 one line of each page is a tenth worse.
    /// </summary>
    public static void Ask(Assembler code, RowPointers streams, int count, PrefetchStyle style)
    {
        for (int i = 0; i < count; i++)
        {
            AskForLine(code, streams[i] + (style == PrefetchStyle.EveryPage ? NearDistance : LineDistance), style);
            if (style == PrefetchStyle.EveryLineTwice)
            {
                code.prefetcht0(streams[i] + NearDistance);
            }
        }
    }

    /// <summary>Asks for a line by itself: into the first level where requests into the second are dropped, if many are on their way.</summary>
    public static void AskForLine(Assembler code, AssemblerMemoryOperand line, PrefetchStyle style)
    {
        if (style == PrefetchStyle.EveryPage)
        {
            code.prefetcht0(line);
        }
        else
        {
            code.prefetcht1(line);
        }
    }
}
