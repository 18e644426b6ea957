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
    ErrorStubLibrary = 34,
    ErrorDeviceUnavailable = 46,
    ErrorNoDevice = 100,
    ErrorInvalidDevice = 101,
    ErrorDeviceNotLicensed = 102,
    ErrorInvalidImage = 200,
    ErrorAlreadyMapped = 208,
    ErrorNoBinaryForGpu = 209,
    ErrorEccUncorrectable = 214,
    ErrorInvalidPtx = 218,
    ErrorNvlinkUncorrectable = 220,
    ErrorJitCompilerNotFound = 221,
    ErrorUnsupportedPtxVersion = 222,
    ErrorJitCompilationDisabled = 223,
    ErrorContained = 226,
    ErrorOperatingSystem = 304,
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
    ErrorNotPermitted = 800,
    ErrorNotSupported = 801,
    ErrorSystemNotReady = 802,
    ErrorSystemDriverMismatch = 803,
    ErrorCompatNotSupportedOnDevice = 804,
    ErrorMpsConnectionFailed = 805,
    ErrorMpsRpcFailure = 806,
    ErrorMpsServerNotReady = 807,
    ErrorMpsMaxClientsReached = 808,
    ErrorMpsMaxConnectionsReached = 809,
    ErrorMpsClientTerminated = 810,
    ErrorUnknown = 999,
}

internal static class CUResults
{
    /// <summary>Whether every later call of the process fails too.</summary>
    public static bool IsSticky(this CUResult result) =>
        result is CUResult.ErrorEccUncorrectable or CUResult.ErrorNvlinkUncorrectable or CUResult.ErrorContained
        or CUResult.ErrorIllegalAddress or CUResult.ErrorLaunchTimeout or CUResult.ErrorContextIsDestroyed or CUResult.ErrorAssert
        or (>= CUResult.ErrorHardwareStackError and <= CUResult.ErrorLaunchFailed)
        or CUResult.ErrorMpsRpcFailure or CUResult.ErrorMpsClientTerminated;

    /// <summary>Whether an allocation failed for want of memory: under Windows, and in its Subsystem for Linux, that has other codes too.</summary>
    public static bool IsWantOfMemory(this CUResult result, string? call) => (result, call) is
        (CUResult.ErrorOutOfMemory or CUResult.ErrorNotReady, "cuMemAlloc" or "cuMemHostAlloc")
        or (CUResult.ErrorOperatingSystem or CUResult.ErrorAlreadyMapped, "cuMemHostAlloc");

    /// <summary>What a user can do about it.</summary>
    /// <param name="result">Of a call.</param>
    /// <param name="call">The driver's function: which memory there was none of depends on it.</param>
    /// <param name="chargesLocked">Whether the driver charges page-locked memory to the GPU.</param>
    public static string Advice(this CUResult result, string call, bool chargesLocked) => result switch
    {
        _ when call == "cuMemHostAlloc" && result.IsWantOfMemory(call) => LockedAdvice(chargesLocked || result is CUResult.ErrorAlreadyMapped or CUResult.ErrorNotReady),
        CUResult.ErrorNotReady when result.IsWantOfMemory(call) => "Under Windows and in WSL 2 a GPU gives less than it calls free: lower KvCacheBytes, end other programs that use it, or run on the CPU.",
        CUResult.ErrorOutOfMemory => "Another program may hold GPU memory: see nvidia-smi, lower KvCacheBytes, or run on the CPU.",
        CUResult.ErrorNoDevice or CUResult.ErrorInvalidDevice => "No NVIDIA GPU is visible to this process: see nvidia-smi and CUDA_VISIBLE_DEVICES.",
        CUResult.ErrorDeviceNotLicensed => "It is a virtual GPU (vGPU) without a licence: nvidia-smi -q tells its state, and NVIDIA's licence service must be reachable from this machine.",
        CUResult.ErrorStubLibrary => "The libcuda that was found is a stub to link programs with: take its folder (often one named stubs) out of LD_LIBRARY_PATH, so that the driver's own is found.",
        CUResult.ErrorDeviceUnavailable => "Another process has the GPU for itself, or its compute mode lets none have it: nvidia-smi -q -d COMPUTE tells which, and nvidia-smi -c DEFAULT (as root) lets processes share it.",
        CUResult.ErrorSystemNotReady => "The system is not ready for CUDA yet: where GPUs are joined by NVSwitch the service nvidia-fabricmanager must run, in the driver's version (systemctl status nvidia-fabricmanager).",
        CUResult.ErrorSystemDriverMismatch => "The driver in the kernel and its library libcuda are of two versions, as after an update: restart the machine; in a container, restart that too, so that it gets the machine's library.",
        CUResult.ErrorCompatNotSupportedOnDevice => "The libcuda that was found is one for forward compatibility (cuda-compat), which is for data center GPUs only: take its folder out of LD_LIBRARY_PATH or remove that package, so that the driver's own is found.",
        CUResult.ErrorOperatingSystem => "The system refused what the driver asked of it: in a container, its security profile (seccomp) or its devices may not allow it; nvidia-smi there tells more.",
        CUResult.ErrorNotPermitted => "The system or the driver does not allow it: in a container, its security profile or its devices may be the cause; nvidia-smi there tells more.",
        CUResult.ErrorNotSupported => "The GPU or its driver does not do it: on a virtual GPU (vGPU), or with confidential computing, its profile may rule it out. Run on the CPU where that cannot be changed.",
        CUResult.ErrorMpsConnectionFailed or CUResult.ErrorMpsServerNotReady or CUResult.ErrorMpsMaxClientsReached or CUResult.ErrorMpsMaxConnectionsReached => "CUDA MPS is asked for and its daemon does not answer, is not ready or has no place left: start it (nvidia-cuda-mps-control -d), end other programs on the GPU, or unset CUDA_MPS_PIPE_DIRECTORY.",
        CUResult.ErrorNotInitialized or CUResult.ErrorUnknown => "The driver does not work: nvidia-smi tells more; a restart after a driver update often helps.",
        CUResult.ErrorJitCompilationDisabled => "The driver is told not to translate kernels, and these are PTX alone: CUDA_DISABLE_PTX_JIT must not be set.",
        CUResult.ErrorNoBinaryForGpu => "The driver does not accept the kernels: CUDA_DISABLE_PTX_JIT must not be set, since they are PTX alone, and driver 525 or newer is needed.",
        CUResult.ErrorInvalidPtx or CUResult.ErrorUnsupportedPtxVersion or CUResult.ErrorInvalidImage => "The driver does not accept the kernels: install driver 525 or newer.",
        CUResult.ErrorJitCompilerNotFound => "libnvidia-ptxjitcompiler.so.1, a part of the driver, is missing; lean containers need NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
        CUResult.ErrorLaunchTimeout => "The system stopped a kernel that ran for too long; this process cannot use the GPU any more.",
        CUResult.ErrorEccUncorrectable => "The GPU's memory has an error: nvidia-smi -q -d ECC tells more.",
        _ when result.IsSticky() => "This process cannot use the GPU any more.",
        _ => "This is an error of this library; please report it.",
    };

    private static string LockedAdvice(bool chargesLocked) => chargesLocked
        ? "It is main memory, page-locked for the GPU, which under Windows and in WSL 2 counts against the GPU's memory too, and of main memory but a part may be locked: lower KvCacheBytes or PrefillChunk, free main memory (of WSL 2 what .wslconfig gives it), or run on the CPU. "
        + "Once it was refused the driver may give this process none at all: then start that anew."
        : "It is main memory that the system did not give, page-locked for the GPU: free some, lower PrefillChunk, or run on the CPU.";
}
