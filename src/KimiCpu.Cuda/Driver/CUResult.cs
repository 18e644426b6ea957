// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>The driver's error codes that this library treats by name; others keep their number.</summary>
internal enum CUResult
{
    Success = 0,
    ErrorInvalidValue = 1,
    ErrorOutOfMemory = 2,
    ErrorNotInitialized = 3,
    ErrorDeviceUnavailable = 46,
    ErrorNoDevice = 100,
    ErrorInvalidDevice = 101,
    ErrorInvalidImage = 200,
    ErrorNoBinaryForGpu = 209,
    ErrorEccUncorrectable = 214,
    ErrorInvalidPtx = 218,
    ErrorNvlinkUncorrectable = 220,
    ErrorJitCompilerNotFound = 221,
    ErrorUnsupportedPtxVersion = 222,
    ErrorContained = 226,
    ErrorInvalidHandle = 400,
    ErrorNotFound = 500,
    ErrorNotReady = 600,
    ErrorIllegalAddress = 700,
    ErrorLaunchOutOfResources = 701,
    ErrorLaunchTimeout = 702,
    ErrorContextIsDestroyed = 709,
    ErrorAssert = 710,
    ErrorHardwareStackError = 714,
    ErrorIllegalInstruction = 715,
    ErrorMisalignedAddress = 716,
    ErrorInvalidAddressSpace = 717,
    ErrorInvalidPc = 718,
    ErrorLaunchFailed = 719,
    ErrorMpsRpcFailure = 806,
    ErrorMpsClientTerminated = 810,
    ErrorUnknown = 999,
}

internal static class CUResults
{
    /// <summary>Whether every later call of the process fails too.</summary>
    public static bool IsSticky(this CUResult result) =>
        result is CUResult.ErrorDeviceUnavailable or CUResult.ErrorEccUncorrectable or CUResult.ErrorNvlinkUncorrectable or CUResult.ErrorContained
        or CUResult.ErrorIllegalAddress or CUResult.ErrorLaunchTimeout or CUResult.ErrorContextIsDestroyed or CUResult.ErrorAssert
        or (>= CUResult.ErrorHardwareStackError and <= CUResult.ErrorLaunchFailed)
        or CUResult.ErrorMpsRpcFailure or CUResult.ErrorMpsClientTerminated;

    /// <summary>What a user can do about it.</summary>
    public static string Advice(this CUResult result) => result switch
    {
        CUResult.ErrorOutOfMemory => "Another program may hold GPU memory: see nvidia-smi, lower KvCacheBytes, or run on the CPU.",
        CUResult.ErrorNoDevice or CUResult.ErrorInvalidDevice => "No NVIDIA GPU is visible to this process: see nvidia-smi and CUDA_VISIBLE_DEVICES.",
        CUResult.ErrorNotInitialized or CUResult.ErrorUnknown => "The driver does not work: nvidia-smi tells more; a restart after a driver update often helps.",
        CUResult.ErrorInvalidPtx or CUResult.ErrorUnsupportedPtxVersion or CUResult.ErrorNoBinaryForGpu or CUResult.ErrorInvalidImage => "The driver does not accept the kernels: install driver 525 or newer.",
        CUResult.ErrorJitCompilerNotFound => "libnvidia-ptxjitcompiler.so.1, a part of the driver, is missing; lean containers need NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
        CUResult.ErrorLaunchTimeout => "The system stopped a kernel that ran for too long; this process cannot use the GPU any more.",
        CUResult.ErrorEccUncorrectable => "The GPU's memory has an error: nvidia-smi -q -d ECC tells more.",
        _ when result.IsSticky() => "This process cannot use the GPU any more.",
        _ => "This is an error of this library; please report it.",
    };
}
