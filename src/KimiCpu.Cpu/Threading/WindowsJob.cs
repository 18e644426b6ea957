// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.Threading;

/// <summary>The job that a process of Windows is in, as in a container.</summary>
internal static unsafe partial class WindowsJob
{
    private const int CpuRateControlInformation = 15;

    private const uint Enabled = 0x1;
    private const uint HardCap = 0x4;
    private const uint LeastAndMost = 0x10;

    /// <summary>Of a rate: the whole machine's time.</summary>
    private const uint All = 10_000;

    /// <summary>Whether it may use only a part of the processors' time. .NET's count of processors has that in it.</summary>
    public static bool LimitsThisProcess()
    {
        ulong control = 0;
        return QueryInformationJobObject(0, CpuRateControlInformation, &control, sizeof(ulong), null) != 0 && IsLimit((uint)control, (uint)(control >> 32));
    }

    /// <param name="flags">How the job's rate is controlled.</param>
    /// <param name="rate">The rate in ten-thousandths of the machine, or the least and the most of it in its halves, or a weight.</param>
    public static bool IsLimit(uint flags, uint rate)
    {
        uint most = (flags & Enabled) == 0 ? 0
            : (flags & HardCap) != 0 ? rate
            : (flags & LeastAndMost) != 0 ? rate >> 16
            : 0;
        return most is > 0 and < All;
    }

    /// <param name="job">0 for that of this process.</param>
    /// <param name="kind">What is asked for.</param>
    /// <param name="information">Receives it.</param>
    /// <param name="length">Bytes of it.</param>
    /// <param name="written">Bytes that were written; may be null.</param>
    [LibraryImport("kernel32")]
    private static partial int QueryInformationJobObject(nint job, int kind, void* information, uint length, uint* written);
}
