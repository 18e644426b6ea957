// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cuda.Driver;

/// <summary>
/// The functions of the CUDA driver that are used, as pointers: the only seam between this library and a driver. Names are
/// the driver's without "cu" and version suffix; arguments as in NVIDIA's CUDA Driver API manual. None of them waits for
/// work to be done, since a wait for a GPU that has stopped answering would never end; see <see cref="DriverWait"/>.
/// </summary>
internal unsafe struct DriverTable
{
    public delegate* unmanaged<uint, CUResult> Init;
    public delegate* unmanaged<int*, CUResult> DriverGetVersion;
    public delegate* unmanaged<CUResult, byte**, CUResult> GetErrorName;
    public delegate* unmanaged<int*, CUResult> DeviceGetCount;
    public delegate* unmanaged<int*, int, CUResult> DeviceGet;
    public delegate* unmanaged<byte*, int, int, CUResult> DeviceGetName;
    public delegate* unmanaged<int*, int, int, CUResult> DeviceGetAttribute;
    public delegate* unmanaged<nint*, int, CUResult> DevicePrimaryCtxRetain;
    public delegate* unmanaged<int, CUResult> DevicePrimaryCtxRelease;
    public delegate* unmanaged<nint*, CUResult> CtxGetCurrent;
    public delegate* unmanaged<nint, CUResult> CtxSetCurrent;
    public delegate* unmanaged<nuint*, nuint*, CUResult> MemGetInfo;
    public delegate* unmanaged<ulong*, nuint, CUResult> MemAlloc;
    public delegate* unmanaged<ulong, CUResult> MemFree;
    public delegate* unmanaged<void**, nuint, uint, CUResult> MemHostAlloc;
    public delegate* unmanaged<void*, CUResult> MemFreeHost;
    public delegate* unmanaged<ulong*, void*, uint, CUResult> MemHostGetDevicePointer;
    public delegate* unmanaged<ulong, void*, nuint, nint, CUResult> MemcpyHtoDAsync;
    public delegate* unmanaged<void*, ulong, nuint, nint, CUResult> MemcpyDtoHAsync;
    public delegate* unmanaged<ulong, ulong, nuint, nint, CUResult> MemcpyDtoDAsync;
    public delegate* unmanaged<ulong, byte, nuint, nint, CUResult> MemsetD8Async;
    public delegate* unmanaged<nint*, void*, uint, int*, void**, CUResult> ModuleLoadDataEx;
    public delegate* unmanaged<nint, CUResult> ModuleUnload;
    public delegate* unmanaged<nint*, nint, byte*, CUResult> ModuleGetFunction;
    public delegate* unmanaged<nint, int, int, CUResult> FuncSetAttribute;
    public delegate* unmanaged<int*, int, nint, CUResult> FuncGetAttribute;
    public delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, CUResult> LaunchKernel;
    public delegate* unmanaged<nint*, uint, int, CUResult> StreamCreateWithPriority;
    public delegate* unmanaged<nint, CUResult> StreamDestroy;
    public delegate* unmanaged<nint, CUResult> StreamQuery;
    public delegate* unmanaged<nint, nint, uint, CUResult> StreamWaitEvent;
    public delegate* unmanaged<nint*, uint, CUResult> EventCreate;
    public delegate* unmanaged<nint, CUResult> EventDestroy;
    public delegate* unmanaged<nint, nint, CUResult> EventRecord;
    public delegate* unmanaged<nint, CUResult> EventQuery;
    public delegate* unmanaged<float*, nint, nint, CUResult> EventElapsedTime;
    public delegate* unmanaged<CaptureMode*, CUResult> ThreadExchangeStreamCaptureMode;
    public delegate* unmanaged<nint, CaptureMode, CUResult> StreamBeginCapture;
    public delegate* unmanaged<nint, nint*, CUResult> StreamEndCapture;
    public delegate* unmanaged<nint*, nint, ulong, CUResult> GraphInstantiateWithFlags;
    public delegate* unmanaged<nint, nint, CUResult> GraphLaunch;
    public delegate* unmanaged<nint, CUResult> GraphExecDestroy;
    public delegate* unmanaged<nint, CUResult> GraphDestroy;

    /// <summary>The installed driver's functions.</summary>
    /// <exception cref="CudaException">There is no driver, or it lacks a function.</exception>
    public static DriverTable OfInstalledDriver()
    {
        string library = OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1";
        if (!TryLoad(library, out nint handle))
        {
            throw new CudaException($"No usable NVIDIA GPU: {library}, the CUDA driver, is not installed.");
        }

        // Never unloaded: the driver keeps threads of its own.
        return From(name => NativeLibrary.TryGetExport(handle, name, out nint address) ? address : 0);
    }

    /// <summary>Loads a library of the system's. By itself Windows would look into the current directory too, which may be a stranger's folder.</summary>
    internal static bool TryLoad(string library, out nint handle) => OperatingSystem.IsWindows()
        ? NativeLibrary.TryLoad(library, typeof(DriverTable).Assembly, DllImportSearchPath.System32, out handle)
        : NativeLibrary.TryLoad(library, out handle);

    /// <summary>Fills the table from exported names.</summary>
    /// <param name="find">The address of an export; 0 where there is none.</param>
    /// <exception cref="CudaException">An export is missing.</exception>
    public static DriverTable From(Func<string, nint> find)
    {
        nint Need(string name) => find(name) is not 0 and nint address
            ? address
            : throw new CudaException($"The NVIDIA driver is too old: it has no {name}. Install driver 525 (CUDA 12.0) or newer.");

        return new DriverTable
        {
            Init = (delegate* unmanaged<uint, CUResult>)Need("cuInit"),
            DriverGetVersion = (delegate* unmanaged<int*, CUResult>)Need("cuDriverGetVersion"),
            GetErrorName = (delegate* unmanaged<CUResult, byte**, CUResult>)Need("cuGetErrorName"),
            DeviceGetCount = (delegate* unmanaged<int*, CUResult>)Need("cuDeviceGetCount"),
            DeviceGet = (delegate* unmanaged<int*, int, CUResult>)Need("cuDeviceGet"),
            DeviceGetName = (delegate* unmanaged<byte*, int, int, CUResult>)Need("cuDeviceGetName"),
            DeviceGetAttribute = (delegate* unmanaged<int*, int, int, CUResult>)Need("cuDeviceGetAttribute"),
            DevicePrimaryCtxRetain = (delegate* unmanaged<nint*, int, CUResult>)Need("cuDevicePrimaryCtxRetain"),
            DevicePrimaryCtxRelease = (delegate* unmanaged<int, CUResult>)Need("cuDevicePrimaryCtxRelease_v2"),
            CtxGetCurrent = (delegate* unmanaged<nint*, CUResult>)Need("cuCtxGetCurrent"),
            CtxSetCurrent = (delegate* unmanaged<nint, CUResult>)Need("cuCtxSetCurrent"),
            MemGetInfo = (delegate* unmanaged<nuint*, nuint*, CUResult>)Need("cuMemGetInfo_v2"),
            MemAlloc = (delegate* unmanaged<ulong*, nuint, CUResult>)Need("cuMemAlloc_v2"),
            MemFree = (delegate* unmanaged<ulong, CUResult>)Need("cuMemFree_v2"),
            MemHostAlloc = (delegate* unmanaged<void**, nuint, uint, CUResult>)Need("cuMemHostAlloc"),
            MemFreeHost = (delegate* unmanaged<void*, CUResult>)Need("cuMemFreeHost"),
            MemHostGetDevicePointer = (delegate* unmanaged<ulong*, void*, uint, CUResult>)Need("cuMemHostGetDevicePointer_v2"),
            MemcpyHtoDAsync = (delegate* unmanaged<ulong, void*, nuint, nint, CUResult>)Need("cuMemcpyHtoDAsync_v2"),
            MemcpyDtoHAsync = (delegate* unmanaged<void*, ulong, nuint, nint, CUResult>)Need("cuMemcpyDtoHAsync_v2"),
            MemcpyDtoDAsync = (delegate* unmanaged<ulong, ulong, nuint, nint, CUResult>)Need("cuMemcpyDtoDAsync_v2"),
            MemsetD8Async = (delegate* unmanaged<ulong, byte, nuint, nint, CUResult>)Need("cuMemsetD8Async"),
            ModuleLoadDataEx = (delegate* unmanaged<nint*, void*, uint, int*, void**, CUResult>)Need("cuModuleLoadDataEx"),
            ModuleUnload = (delegate* unmanaged<nint, CUResult>)Need("cuModuleUnload"),
            ModuleGetFunction = (delegate* unmanaged<nint*, nint, byte*, CUResult>)Need("cuModuleGetFunction"),
            FuncSetAttribute = (delegate* unmanaged<nint, int, int, CUResult>)Need("cuFuncSetAttribute"),
            FuncGetAttribute = (delegate* unmanaged<int*, int, nint, CUResult>)Need("cuFuncGetAttribute"),
            LaunchKernel = (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, CUResult>)Need("cuLaunchKernel"),
            StreamCreateWithPriority = (delegate* unmanaged<nint*, uint, int, CUResult>)Need("cuStreamCreateWithPriority"),
            StreamDestroy = (delegate* unmanaged<nint, CUResult>)Need("cuStreamDestroy_v2"),
            StreamQuery = (delegate* unmanaged<nint, CUResult>)Need("cuStreamQuery"),
            StreamWaitEvent = (delegate* unmanaged<nint, nint, uint, CUResult>)Need("cuStreamWaitEvent"),
            EventCreate = (delegate* unmanaged<nint*, uint, CUResult>)Need("cuEventCreate"),
            EventDestroy = (delegate* unmanaged<nint, CUResult>)Need("cuEventDestroy_v2"),
            EventRecord = (delegate* unmanaged<nint, nint, CUResult>)Need("cuEventRecord"),
            EventQuery = (delegate* unmanaged<nint, CUResult>)Need("cuEventQuery"),
            EventElapsedTime = (delegate* unmanaged<float*, nint, nint, CUResult>)Need("cuEventElapsedTime"),
            ThreadExchangeStreamCaptureMode = (delegate* unmanaged<CaptureMode*, CUResult>)Need("cuThreadExchangeStreamCaptureMode"),
            StreamBeginCapture = (delegate* unmanaged<nint, CaptureMode, CUResult>)Need("cuStreamBeginCapture_v2"),
            StreamEndCapture = (delegate* unmanaged<nint, nint*, CUResult>)Need("cuStreamEndCapture"),
            GraphInstantiateWithFlags = (delegate* unmanaged<nint*, nint, ulong, CUResult>)Need("cuGraphInstantiateWithFlags"),
            GraphLaunch = (delegate* unmanaged<nint, nint, CUResult>)Need("cuGraphLaunch"),
            GraphExecDestroy = (delegate* unmanaged<nint, CUResult>)Need("cuGraphExecDestroy"),
            GraphDestroy = (delegate* unmanaged<nint, CUResult>)Need("cuGraphDestroy"),
        };
    }
}
