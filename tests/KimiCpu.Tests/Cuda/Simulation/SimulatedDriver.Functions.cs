// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>The functions themselves: those of the driver, its devices and contexts. What all that give something back have in common.</summary>
internal sealed unsafe partial class SimulatedDriver
{
    private static readonly byte[] s_errorName = Encoding.UTF8.GetBytes("CUDA_ERROR_SIMULATED\0");
    private static readonly GCHandle s_pinnedErrorName = GCHandle.Alloc(s_errorName, GCHandleType.Pinned);

    [UnmanagedCallersOnly]
    private static CUResult Init(uint flags) => Enter(_ => CUResult.Success, "cuInit", needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult DriverGetVersion(int* version) => Enter(
        d =>
        {
            *version = d.Version;
            return CUResult.Success;
        },
        "cuDriverGetVersion", needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult GetErrorName(CUResult result, byte** name)
    {
        *name = (byte*)s_pinnedErrorName.AddrOfPinnedObject();
        return CUResult.Success;
    }

    [UnmanagedCallersOnly]
    private static CUResult DeviceGetCount(int* count) => Enter(
        d =>
        {
            *count = d.DeviceCount;
            return CUResult.Success;
        },
        "cuDeviceGetCount", needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult DeviceGet(int* device, int ordinal) => Enter(
        _ =>
        {
            *device = ordinal;
            return CUResult.Success;
        },
        "cuDeviceGet", needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult DeviceGetName(byte* name, int bytes, int device) => Enter(
        _ =>
        {
            "Simulated GPU\0"u8.CopyTo(new Span<byte>(name, bytes));
            return CUResult.Success;
        },
        "cuDeviceGetName", needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult DeviceGetAttribute(int* value, int attribute, int device) => Enter(
        d =>
        {
            *value = attribute switch
            {
                75 => d.CapabilityOf(device).Major,
                76 => d.CapabilityOf(device).Minor,
                16 => d.Multiprocessors,
                18 => d.SharesMemory ? 1 : 0,
                38 => d.SecondLevelCacheBytes,
                _ => throw new PtxFault($"attribute {attribute} is not simulated"),
            };
            return CUResult.Success;
        },
        "cuDeviceGetAttribute", needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult DevicePrimaryCtxRetain(nint* context, int device) => Enter(
        d =>
        {
            d._retained++;
            *context = 1 + device;
            return CUResult.Success;
        },
        "cuDevicePrimaryCtxRetain", needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult DevicePrimaryCtxRelease(int device) => Release(
        d =>
        {
            d._retained--;
            return CUResult.Success;
        },
        needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult CtxGetCurrent(nint* context) => Enter(
        d =>
        {
            *context = d.ContextOfThread;
            return CUResult.Success;
        },
        "cuCtxGetCurrent",
        needsContext: false);

    [UnmanagedCallersOnly]
    private static CUResult CtxSetCurrent(nint context) => Enter(
        d =>
        {
            (s_currentOfThread, s_contextOfThread) = (context >= 1 && context <= d.DeviceCount ? d : null, context);
            return CUResult.Success;
        },
        "cuCtxSetCurrent",
        needsContext: false);

    /// <summary>Gives something back. That works on a lost GPU too, and its failure would say nothing about leaks; after an error that stays the context is of no use to anyone.</summary>
    private static CUResult Release(Func<SimulatedDriver, CUResult> call, bool waits = true, bool needsContext = true)
    {
        SimulatedDriver driver = s_current.Value!;
        using Lock.Scope entered = driver._gate.EnterScope();
        if (waits && driver.Hangs)
        {
            driver.Fault ??= "something is given back while the GPU does not answer: the driver would wait for ever";
        }

        if (needsContext && driver._sticky == CUResult.Success && driver.Objection is { } objection)
        {
            driver.Fault ??= $"something is given back by a thread {objection}: the driver would keep it";
        }

        CUResult result = call(driver);
        Assert.That(result, Is.EqualTo(CUResult.Success), "something is given back twice, or was never handed out");
        return result;
    }
}
