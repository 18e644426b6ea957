// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda;

/// <summary>
/// The machine's GPU as tests see it that run side by side: with as much of its memory as the simulated one has. Otherwise each model plans
/// with all of it, and the next one finds none.
/// </summary>
internal static unsafe class SharedGpu
{
    private static readonly DriverTable s_installed = DriverTable.OfInstalledDriver();

    /// <summary>Of the test that runs on this thread.</summary>
    [ThreadStatic]
    private static long t_bytes;

    /// <param name="bytes">Memory that this thread finds.</param>
    public static DriverTable Table(long bytes)
    {
        t_bytes = bytes;
        DriverTable table = s_installed;
        table.MemGetInfo = &MemGetInfo;
        return table;
    }

    [UnmanagedCallersOnly]
    private static CUResult MemGetInfo(nuint* free, nuint* total)
    {
        CUResult result = s_installed.MemGetInfo(free, total);
        *free = (nuint)Math.Min(*free, (ulong)t_bytes);
        return result;
    }
}
