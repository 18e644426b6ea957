// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cuda.Driver;

/// <summary>A call of the CUDA driver that failed, or a GPU that cannot be used.</summary>
internal class CudaException : DeviceException
{
    public CudaException(string message)
        : base(message)
    {
    }

    public CudaException(CUResult result, string call, string name, string? detail = null)
        : base($"{call} failed with CUDA error {(int)result} ({name}). {(detail is null ? "" : detail + " ")}{result.Advice(call, CudaStream.DriverCollects)}")
    {
        Result = result;
        Call = call;
    }

    /// <summary>Success where no call failed.</summary>
    public CUResult Result { get; }

    /// <summary>The function that failed; null where none did.</summary>
    public string? Call { get; }
}

/// <summary>The GPU is gone, with all that was in its memory: every later call of this process would fail too.</summary>
internal sealed class GpuLostException : CudaException
{
    public GpuLostException(string message)
        : base(message)
    {
    }

    public GpuLostException(CUResult result, string call, string name)
        : base(result, call, name)
    {
    }
}
