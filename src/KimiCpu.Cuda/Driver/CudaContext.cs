// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KimiCpu.Cuda.Driver;

/// <summary>
/// One GPU: its primary context, retained until disposed, and facts about it. Every object made with it checks its calls
/// here. Used by one thread at a time, which calls <see cref="SetCurrent"/> first.
/// </summary>
internal sealed unsafe class CudaContext : IDisposable
{
    /// <summary>CUDA 11.4, the first that knows PTX 7.4.</summary>
    private const int MinimumDriverVersion = 11040;

    private const int ComputeCapabilityMajorAttribute = 75;
    private const int ComputeCapabilityMinorAttribute = 76;
    private const int MultiprocessorCountAttribute = 16;
    private const int NameBytes = 256;

    [ThreadStatic]
    private static nint s_current;

    private readonly DriverTable _driver;
    private readonly int _device;
    private nint _context;

    /// <param name="driver">The driver's functions.</param>
    /// <param name="ordinal">0 … number of GPUs - 1, as CUDA_VISIBLE_DEVICES orders them.</param>
    /// <exception cref="CudaException">There is no such GPU, or it or its driver is too old.</exception>
    public CudaContext(in DriverTable driver, int ordinal)
    {
        _driver = driver;
        int version = 0;
        Check(Driver.Init(0));
        Check(Driver.DriverGetVersion(&version));
        if (version < MinimumDriverVersion)
        {
            throw new CudaException($"The NVIDIA driver supports CUDA {VersionText(version)}; {VersionText(MinimumDriverVersion)} is needed. Install driver 525 (CUDA 12.0) or newer.");
        }

        int count = 0;
        int device = 0;
        Check(Driver.DeviceGetCount(&count));
        if (ordinal < 0 || ordinal >= count)
        {
            throw new CudaException(count == 0
                ? "No usable NVIDIA GPU: the driver sees none. See nvidia-smi and CUDA_VISIBLE_DEVICES."
                : $"GPU {ordinal} does not exist; there are {count}, numbered from 0.");
        }

        Check(Driver.DeviceGet(&device, ordinal));
        _device = device;
        byte* name = stackalloc byte[NameBytes];
        Check(Driver.DeviceGetName(name, NameBytes, device));
        Name = Marshal.PtrToStringUTF8((nint)name) ?? "";
        Ordinal = ordinal;
        DriverVersion = version;
        ComputeCapability = (Attribute(ComputeCapabilityMajorAttribute), Attribute(ComputeCapabilityMinorAttribute));
        if (ComputeCapability.Major < 8)
        {
            throw new CudaException($"{Name} has compute capability {ComputeCapability.Major}.{ComputeCapability.Minor}; 8.0 (Ampere) or newer is needed.");
        }

        MultiprocessorCount = Attribute(MultiprocessorCountAttribute);
        nint context = 0;
        Check(Driver.DevicePrimaryCtxRetain(&context, device));
        _context = context;
        try
        {
            SetCurrent();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public string Name { get; }

    public int Ordinal { get; }

    /// <summary>1000 times the CUDA version's major number plus 10 times its minor one.</summary>
    public int DriverVersion { get; }

    public (int Major, int Minor) ComputeCapability { get; }

    public int MultiprocessorCount { get; }

    /// <summary>Whether an error has happened after which every call fails.</summary>
    public bool IsLost { get; private set; }

    /// <summary>Functions to call; their results go to <see cref="Check"/>.</summary>
    public ref readonly DriverTable Driver => ref _driver;

    public static string VersionText(int version) => $"{version / 1000}.{version % 1000 / 10}";

    /// <summary>Makes this the calling thread's GPU. Costs nothing where it is already.</summary>
    /// <exception cref="GpuLostException">The GPU was lost earlier.</exception>
    public void SetCurrent()
    {
        if (IsLost)
        {
            throw new GpuLostException($"{Name} was lost by an earlier error. Open the model again, or start the process again.");
        }

        if (s_current != _context)
        {
            Check(Driver.CtxSetCurrent(_context));
            s_current = _context;
        }
    }

    /// <summary>Bytes free and in all.</summary>
    public (long Free, long Total) MemoryInfo()
    {
        nuint free = 0;
        nuint total = 0;
        Check(Driver.MemGetInfo(&free, &total));
        return ((long)free, (long)total);
    }

    /// <summary>Throws where a call failed.</summary>
    /// <param name="result">What it returned.</param>
    /// <param name="call">Its source text, which names it.</param>
    /// <exception cref="GpuLostException">The error is one that stays.</exception>
    /// <exception cref="CudaException">Any other error.</exception>
    public void Check(CUResult result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result == CUResult.Success)
        {
            return;
        }

        if (result.IsSticky())
        {
            IsLost = true;
            throw new GpuLostException(result, FunctionOf(call), NameOf(result));
        }

        throw new CudaException(result, FunctionOf(call), NameOf(result));
    }

    /// <summary>For clean-up, which must go on: an error is ignored, but one that stays is remembered.</summary>
    public void Release(CUResult result) => IsLost |= result.IsSticky();

    /// <summary>Notes that the GPU has stopped answering.</summary>
    public void MarkLost() => IsLost = true;

    public void Dispose()
    {
        if (_context != 0)
        {
            _context = 0;
            s_current = 0;
            Release(Driver.DevicePrimaryCtxRelease(_device));
        }
    }

    /// <summary>The driver's function in the text of a call: cuMemAlloc of _context.Driver.MemAlloc(&amp;p, bytes).</summary>
    internal static string FunctionOf(string call)
    {
        int end = call.IndexOf('(', StringComparison.Ordinal);
        string path = end < 0 ? call : call[..end];
        return "cu" + path[(path.LastIndexOf('.') + 1)..];
    }

    internal string NameOf(CUResult result)
    {
        byte* name = null;
        return Driver.GetErrorName(result, &name) == CUResult.Success && name != null ? Marshal.PtrToStringUTF8((nint)name)! : $"error {(int)result}";
    }

    private int Attribute(int attribute)
    {
        int value = 0;
        Check(Driver.DeviceGetAttribute(&value, attribute, _device));
        return value;
    }
}
