// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>
/// What a thread's calls of the driver allocate, which a real one would not: for tests of what the caller allocates. Counts the functions that a
/// pass calls.
/// </summary>
internal sealed unsafe partial class SimulatedDriver
{
    [ThreadStatic]
    private static long s_allocatedByThread;

    /// <summary>Bytes, of the calling thread.</summary>
    public static long AllocatedByThread => s_allocatedByThread;

    private static DriverTable Metered(DriverTable table) => table with
    {
        CtxSetCurrent = &MeterCtxSetCurrent,
        ThreadExchangeStreamCaptureMode = &MeterThreadExchangeStreamCaptureMode,
        MemcpyHtoDAsync = &MeterMemcpyHtoDAsync,
        MemcpyDtoHAsync = &MeterMemcpyDtoHAsync,
        LaunchKernel = &MeterLaunchKernel,
        StreamQuery = &MeterStreamQuery,
        EventRecord = &MeterEventRecord,
        EventQuery = &MeterEventQuery,
        GraphLaunch = &MeterGraphLaunch,
    };

    private static long Now() => GC.GetAllocatedBytesForCurrentThread();

    private static CUResult Count(long before, CUResult result)
    {
        s_allocatedByThread += Now() - before;
        return result;
    }

    [UnmanagedCallersOnly]
    private static CUResult MeterCtxSetCurrent(nint context) => Count(Now(), ((delegate* unmanaged<nint, CUResult>)&CtxSetCurrent)(context));

    [UnmanagedCallersOnly]
    private static CUResult MeterThreadExchangeStreamCaptureMode(CaptureMode* mode) => Count(Now(), ((delegate* unmanaged<CaptureMode*, CUResult>)&ThreadExchangeStreamCaptureMode)(mode));

    [UnmanagedCallersOnly]
    private static CUResult MeterMemcpyHtoDAsync(ulong target, void* source, nuint bytes, nint stream) =>
        Count(Now(), ((delegate* unmanaged<ulong, void*, nuint, nint, CUResult>)&MemcpyHtoDAsync)(target, source, bytes, stream));

    [UnmanagedCallersOnly]
    private static CUResult MeterMemcpyDtoHAsync(void* target, ulong source, nuint bytes, nint stream) =>
        Count(Now(), ((delegate* unmanaged<void*, ulong, nuint, nint, CUResult>)&MemcpyDtoHAsync)(target, source, bytes, stream));

    [UnmanagedCallersOnly]
    private static CUResult MeterLaunchKernel(nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint dynamicBytes, nint stream, void** parameters, void** extra) =>
        Count(Now(), ((delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, CUResult>)&LaunchKernel)(function, gridX, gridY, gridZ, blockX, blockY, blockZ, dynamicBytes, stream, parameters, extra));

    [UnmanagedCallersOnly]
    private static CUResult MeterStreamQuery(nint stream) => Count(Now(), ((delegate* unmanaged<nint, CUResult>)&StreamQuery)(stream));

    [UnmanagedCallersOnly]
    private static CUResult MeterEventRecord(nint handle, nint stream) => Count(Now(), ((delegate* unmanaged<nint, nint, CUResult>)&EventRecord)(handle, stream));

    [UnmanagedCallersOnly]
    private static CUResult MeterEventQuery(nint handle) => Count(Now(), ((delegate* unmanaged<nint, CUResult>)&EventQuery)(handle));

    [UnmanagedCallersOnly]
    private static CUResult MeterGraphLaunch(nint exec, nint stream) => Count(Now(), ((delegate* unmanaged<nint, nint, CUResult>)&GraphLaunch)(exec, stream));
}
