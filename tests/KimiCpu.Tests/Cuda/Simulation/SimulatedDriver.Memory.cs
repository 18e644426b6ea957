// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>The functions of memory: allocations and copies.</summary>
internal sealed unsafe partial class SimulatedDriver
{
    [UnmanagedCallersOnly]
    private static CUResult MemGetInfo(nuint* free, nuint* total) => Enter(
        d =>
        {
            (*free, *total) = ((nuint)Math.Max(0, d.BytesOfGpu - d.TakenOfGpu - d.CachedBytes), (nuint)d.BytesOfGpu);
            return CUResult.Success;
        },
        "cuMemGetInfo");

    [UnmanagedCallersOnly]
    private static CUResult MemAlloc(ulong* address, nuint bytes) => Enter(
        d =>
        {
            if (bytes == 0)
            {
                return CUResult.ErrorInvalidValue;
            }

            if (d.TakenOfGpu + (long)bytes > d.BytesOfGpu - d.TakenBytes)
            {
                return CUResult.ErrorOutOfMemory;
            }

            *address = d._memory.Allocate((long)bytes);
            d._deviceAllocations.Add(*address);
            d.DeviceBytes += (long)bytes;
            return CUResult.Success;
        },
        "cuMemAlloc");

    [UnmanagedCallersOnly]
    private static CUResult MemFree(ulong address) => Release(d =>
    {
        if (!d._deviceAllocations.Remove(address))
        {
            return CUResult.ErrorInvalidValue;
        }

        d.DeviceBytes -= (long)d._memory.Find(address, 1)!.Bytes;
        d._memory.Free(address);
        return CUResult.Success;
    });

    [UnmanagedCallersOnly]
    private static CUResult MemHostAlloc(void** address, nuint bytes, uint flags) => Enter(
        d =>
        {
            if (d.HostBytes + (long)bytes > d.TotalHostBytes)
            {
                return CUResult.ErrorOutOfMemory;
            }

            d._refusesHostMemory |= d.ChargesHostMemory && d.TakenOfGpu + (long)bytes > d.BytesOfGpu - d.TakenBytes;
            if (d._refusesHostMemory)
            {
                return CUResult.ErrorAlreadyMapped;
            }

            ulong block = d._memory.Allocate((long)bytes);
            d._hostAllocations.Add(block);
            d.HostBytes += (long)bytes;
            *address = (void*)block;
            return CUResult.Success;
        },
        "cuMemHostAlloc");

    [UnmanagedCallersOnly]
    private static CUResult MemFreeHost(void* address) => Release(d =>
    {
        if (!d._hostAllocations.Remove((ulong)address))
        {
            return CUResult.ErrorInvalidValue;
        }

        d.HostBytes -= (long)d._memory.Find((ulong)address, 1)!.Bytes;
        d._memory.Free((ulong)address);
        return CUResult.Success;
    });

    [UnmanagedCallersOnly]
    private static CUResult MemHostGetDevicePointer(ulong* address, void* host, uint flags) => Enter(
        d =>
        {
            *address = (ulong)host;
            return d._hostAllocations.Contains((ulong)host) ? CUResult.Success : CUResult.ErrorInvalidValue;
        },
        "cuMemHostGetDevicePointer");

    [UnmanagedCallersOnly]
    private static CUResult MemcpyHtoDAsync(ulong target, void* source, nuint bytes, nint stream)
    {
        nint from = (nint)source;
        return Enter(
            d => d.Put(stream, () =>
            {
                d.RequireHost((void*)from, bytes);
                d.RequireDevice(target, bytes);
                d.Copy((void*)from, (void*)target, bytes);
            }),
            "cuMemcpyHtoDAsync");
    }

    [UnmanagedCallersOnly]
    private static CUResult MemcpyDtoHAsync(void* target, ulong source, nuint bytes, nint stream)
    {
        nint to = (nint)target;
        return Enter(
            d => d.Put(stream, () =>
            {
                d.RequireDevice(source, bytes);
                d.RequireHost((void*)to, bytes);
                d.Copy((void*)source, (void*)to, bytes);
            }),
            "cuMemcpyDtoHAsync");
    }

    [UnmanagedCallersOnly]
    private static CUResult MemcpyDtoDAsync(ulong target, ulong source, nuint bytes, nint stream) => Enter(
        d => d.Put(stream, () =>
        {
            d.RequireDevice(source, bytes);
            d.RequireDevice(target, bytes);
            d.Copy((void*)source, (void*)target, bytes);
        }),
        "cuMemcpyDtoDAsync");

    [UnmanagedCallersOnly]
    private static CUResult MemsetD8Async(ulong target, byte value, nuint bytes, nint stream) => Enter(
        d => d.Put(stream, () =>
        {
            d.RequireDevice(target, bytes);
            NativeMemory.Fill((void*)target, bytes, value);
        }),
        "cuMemsetD8Async");
}
