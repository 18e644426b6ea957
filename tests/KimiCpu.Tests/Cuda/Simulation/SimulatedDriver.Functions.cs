// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>The functions themselves.</summary>
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
                16 => 82,
                18 => d.SharesMemory ? 1 : 0,
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

    [UnmanagedCallersOnly]
    private static CUResult MemGetInfo(nuint* free, nuint* total) => Enter(
        d =>
        {
            (*free, *total) = ((nuint)(d.BytesOfGpu - d.DeviceBytes), (nuint)d.BytesOfGpu);
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

            if (d.DeviceBytes + (long)bytes > d.BytesOfGpu - d.TakenBytes)
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

    [UnmanagedCallersOnly]
    private static CUResult ModuleLoadDataEx(nint* module, void* image, uint count, int* options, void** values)
    {
        nint text = (nint)image;
        return Enter(
            d =>
            {
                try
                {
                    *module = d.Add(ModuleOf(Text((byte*)text)));
                    return CUResult.Success;
                }
                catch (PtxFault e)
                {
                    // Option 5 is the buffer for the translator's log, 6 its size.
                    Encoding.UTF8.GetBytes(e.Message + "\0").CopyTo(new Span<byte>(values[0], (int)(nint)values[1]));
                    return CUResult.ErrorInvalidPtx;
                }
            },
            "cuModuleLoadDataEx");
    }

    [UnmanagedCallersOnly]
    private static CUResult ModuleUnload(nint module) => Release(d =>
    {
        // Its functions go with it.
        foreach (nint function in d._handles.Where(h => h.Value is SimulatedFunction).Select(h => h.Key).ToArray())
        {
            d._handles.Remove(function);
        }

        return d.Remove<PtxModule>(module);
    });

    [UnmanagedCallersOnly]
    private static CUResult ModuleGetFunction(nint* function, nint module, byte* name)
    {
        nint text = (nint)name;
        return Enter(
            d =>
            {
                if (!d.Get<PtxModule>(module).Kernels.TryGetValue(Text((byte*)text), out PtxKernel? kernel))
                {
                    return CUResult.ErrorNotFound;
                }

                *function = d.Add(new SimulatedFunction(d.Replaced?.Name == kernel.Name ? d.Replaced : kernel));
                return CUResult.Success;
            },
            "cuModuleGetFunction");
    }

    [UnmanagedCallersOnly]
    private static CUResult FuncSetAttribute(nint function, int attribute, int value) => Enter(
        d =>
        {
            // What the function declares itself counts too.
            SimulatedFunction f = d.Get<SimulatedFunction>(function);
            bool fits = attribute == 8 && f.Kernel.SharedBytes + value <= 99 * 1024;
            f.MaxDynamicBytes = fits ? value : f.MaxDynamicBytes;
            return fits ? CUResult.Success : CUResult.ErrorInvalidValue;
        },
        "cuFuncSetAttribute");

    [UnmanagedCallersOnly]
    private static CUResult FuncGetAttribute(int* value, int attribute, nint function) => Enter(
        d =>
        {
            PtxKernel kernel = d.Get<SimulatedFunction>(function).Kernel;
            *value = attribute switch
            {
                3 => d.LocalBytesOf.GetValueOrDefault(kernel.Name),
                4 => 32,
                _ => throw new PtxFault($"function attribute {attribute} is not simulated"),
            };
            return CUResult.Success;
        },
        "cuFuncGetAttribute");

    [UnmanagedCallersOnly]
    private static CUResult LaunchKernel(nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint dynamicBytes, nint stream, void** parameters, void** extra) => Enter(
        d =>
        {
            SimulatedFunction f = d.Get<SimulatedFunction>(function);
            if (dynamicBytes > f.MaxDynamicBytes || blockY != 1 || blockZ != 1)
            {
                return CUResult.ErrorInvalidValue;
            }

            d.LaunchesOf[f.Kernel.Name] = d.LaunchesOf.GetValueOrDefault(f.Kernel.Name) + 1;
            var arguments = new byte[f.Kernel.ParameterBytes];
            for (int i = 0; i < f.Kernel.Parameters.Count; i++)
            {
                PtxParameter parameter = f.Kernel.Parameters[i];
                new ReadOnlySpan<byte>(parameters[i], parameter.Bytes).CopyTo(arguments.AsSpan(parameter.Offset));
            }

            d.Launched?.Invoke(f.Kernel.Name, (int)blockX, arguments);
            return d.Put(stream, () => d._machine.Launch(f.Kernel, gridX, gridY, gridZ, (int)blockX, (int)dynamicBytes, arguments));
        },
        "cuLaunchKernel");

    [UnmanagedCallersOnly]
    private static CUResult StreamCreateWithPriority(nint* stream, uint flags, int priority) => Enter(
        d =>
        {
            *stream = d.Add(new SimulatedStream());
            return CUResult.Success;
        },
        "cuStreamCreateWithPriority");

    [UnmanagedCallersOnly]
    private static CUResult StreamDestroy(nint stream) => Release(d => d.Remove<SimulatedStream>(stream));

    [UnmanagedCallersOnly]
    private static CUResult StreamQuery(nint stream) => Enter(
        d =>
        {
            SimulatedStream s = d.Get<SimulatedStream>(stream);
            if (s.Recording is not null)
            {
                return CUResult.ErrorInvalidValue;
            }

            if (!d.Hangs && s.Pending.TryDequeue(out Action? work))
            {
                d.Run(work);
            }

            return s.Pending.Count == 0 ? CUResult.Success : CUResult.ErrorNotReady;
        },
        "cuStreamQuery");

    /// <summary>What a later recording of the event marks does not count.</summary>
    [UnmanagedCallersOnly]
    private static CUResult StreamWaitEvent(nint stream, nint handle, uint flags) => Enter(
        d => d.Get<SimulatedEvent>(handle).Mark is { } mark ? d.Put(stream, () => d.RunUntil(mark)) : CUResult.Success,
        "cuStreamWaitEvent");

    [UnmanagedCallersOnly]
    private static CUResult EventCreate(nint* handle, uint flags) => Enter(
        d =>
        {
            *handle = d.Add(new SimulatedEvent(timed: (flags & 2) == 0));
            return CUResult.Success;
        },
        "cuEventCreate");

    [UnmanagedCallersOnly]
    private static CUResult EventDestroy(nint handle) => Release(d => d.Remove<SimulatedEvent>(handle));

    [UnmanagedCallersOnly]
    private static CUResult EventRecord(nint handle, nint stream) => Enter(
        d =>
        {
            SimulatedEvent e = d.Get<SimulatedEvent>(handle);
            SimulatedStream put = d.Get<SimulatedStream>(stream);
            if (e.Timed && put.Recording is not null)
            {
                throw new PtxFault("a timed event is recorded into a graph, where the driver gives it no time");
            }

            var mark = new SimulatedMark(put);
            e.Mark = mark;
            return d.Put(stream, () => mark.Nanoseconds = d.Nanoseconds);
        },
        "cuEventRecord");

    [UnmanagedCallersOnly]
    private static CUResult EventQuery(nint handle) => Enter(
        d =>
        {
            SimulatedEvent e = d.Get<SimulatedEvent>(handle);
            if (e.Mark is { Nanoseconds: null } mark && !d.Hangs && mark.Stream.Pending.TryDequeue(out Action? work))
            {
                d.Run(work);
            }

            return e.Mark is { Nanoseconds: null } ? CUResult.ErrorNotReady : CUResult.Success;
        },
        "cuEventQuery");

    [UnmanagedCallersOnly]
    private static CUResult EventElapsedTime(float* milliseconds, nint from, nint to) => Enter(
        d =>
        {
            (SimulatedEvent first, SimulatedEvent last) = (d.Get<SimulatedEvent>(from), d.Get<SimulatedEvent>(to));
            if (!first.Timed || !last.Timed || first.Mark is null || last.Mark is null)
            {
                return CUResult.ErrorInvalidHandle;
            }

            if ((first.Mark.Nanoseconds, last.Mark.Nanoseconds) is not ({ } begin, { } end))
            {
                return CUResult.ErrorNotReady;
            }

            *milliseconds = (end - begin) / 1e6f;
            return CUResult.Success;
        },
        "cuEventElapsedTime");

    [UnmanagedCallersOnly]
    private static CUResult StreamBeginCapture(nint stream, int mode) => Enter(
        d =>
        {
            d.Get<SimulatedStream>(stream).Recording = new Queue<Action>();
            return CUResult.Success;
        },
        "cuStreamBeginCapture");

    [UnmanagedCallersOnly]
    private static CUResult StreamEndCapture(nint stream, nint* graph) => Enter(
        d =>
        {
            SimulatedStream s = d.Get<SimulatedStream>(stream);
            *graph = d.Add(new SimulatedGraph([.. s.Recording!]));
            s.Recording = null;
            return CUResult.Success;
        },
        "cuStreamEndCapture");

    [UnmanagedCallersOnly]
    private static CUResult GraphInstantiateWithFlags(nint* exec, nint graph, ulong flags) => Enter(
        d =>
        {
            if (d.DeviceBytes + d.GraphBytes > d.BytesOfGpu - d.TakenBytes)
            {
                return CUResult.ErrorOutOfMemory;
            }

            *exec = d.Add(new SimulatedGraphExec(d.Get<SimulatedGraph>(graph).Work, d.GraphBytes));
            d.DeviceBytes += d.GraphBytes;
            return CUResult.Success;
        },
        "cuGraphInstantiateWithFlags");

    [UnmanagedCallersOnly]
    private static CUResult GraphLaunch(nint exec, nint stream) => Enter(
        d =>
        {
            foreach (Action work in d.Get<SimulatedGraphExec>(exec).Work)
            {
                d.Put(stream, work);
            }

            return CUResult.Success;
        },
        "cuGraphLaunch");

    [UnmanagedCallersOnly]
    private static CUResult GraphExecDestroy(nint exec) => Release(d =>
    {
        d.DeviceBytes -= d._handles.GetValueOrDefault(exec) is SimulatedGraphExec found ? found.Bytes : 0;
        return d.Remove<SimulatedGraphExec>(exec);
    });

    [UnmanagedCallersOnly]
    private static CUResult GraphDestroy(nint graph) => Release(d => d.Remove<SimulatedGraph>(graph), waits: false, needsContext: false);

    /// <summary>Gives something back. That works on a lost GPU too, and its failure would say nothing about leaks; after an error that stays the context is of no use to anyone.</summary>
    private static CUResult Release(Func<SimulatedDriver, CUResult> call, bool waits = true, bool needsContext = true)
    {
        SimulatedDriver driver = s_current.Value!;
        using Lock.Scope entered = driver._gate.EnterScope();
        if (waits && driver.Hangs)
        {
            driver.Fault ??= "something is given back while the GPU does not answer: the driver would wait for ever";
        }

        if (needsContext && driver._sticky == CUResult.Success && s_currentOfThread != driver)
        {
            driver.Fault ??= "something is given back by a thread without a context: the driver would keep it";
        }

        CUResult result = call(driver);
        Assert.That(result, Is.EqualTo(CUResult.Success), "something is given back twice, or was never handed out");
        return result;
    }
}
