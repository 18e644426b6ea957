// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KimiCpu.Cuda.Driver;

/// <summary>
/// One GPU: its primary context, retained until disposed, and facts about it. Every object made with it checks its calls
/// here, and its waits. Used by one thread at a time, which calls <see cref="SetCurrent"/> first.
/// </summary>
internal sealed unsafe class CudaContext : IDisposable
{
    /// <summary>CUDA 11.4, the first that knows PTX 7.4.</summary>
    private const int MinimumDriverVersion = 11040;

    private const int ComputeCapabilityMajorAttribute = 75;
    private const int ComputeCapabilityMinorAttribute = 76;
    private const int MultiprocessorCountAttribute = 16;
    private const int IntegratedAttribute = 18;
    private const int SecondLevelCacheBytesAttribute = 38;
    private const int NameBytes = 256;

    private readonly DriverTable _driver;
    private readonly int _device;
    private nint _context;
    private string? _loss;

    /// <param name="driver">The driver's functions.</param>
    /// <param name="ordinal">0 … number of GPUs - 1, in the driver's order: by speed, or by bus where CUDA_DEVICE_ORDER says so, and as CUDA_VISIBLE_DEVICES has them.</param>
    /// <param name="patience">See <see cref="Patience"/>; null for <see cref="DefaultPatience"/>.</param>
    /// <exception cref="CudaException">There is no such GPU, or it or its driver is too old.</exception>
    public CudaContext(in DriverTable driver, int ordinal, TimeSpan? patience = null)
    {
        _driver = driver;
        Patience = patience ?? DefaultPatience;
        (DriverVersion, int count) = Start(driver);
        if (ordinal < 0 || ordinal >= count)
        {
            throw new CudaException($"GPU {ordinal} does not exist; there are {count}, numbered from 0.");
        }

        int device = 0;
        Check(Driver.DeviceGet(&device, ordinal));
        _device = device;
        byte* name = stackalloc byte[NameBytes];
        Check(Driver.DeviceGetName(name, NameBytes, device));
        Name = Marshal.PtrToStringUTF8((nint)name) ?? "";
        Ordinal = ordinal;
        ComputeCapability = (Attribute(ComputeCapabilityMajorAttribute), Attribute(ComputeCapabilityMinorAttribute));
        if (ComputeCapability.Major < 8)
        {
            throw new CudaException($"{Name} has compute capability {ComputeCapability.Major}.{ComputeCapability.Minor}; 8.0 (Ampere) or newer is needed.");
        }

        MultiprocessorCount = Attribute(MultiprocessorCountAttribute);
        SharesMemory = Attribute(IntegratedAttribute) != 0;
        SecondLevelCacheBytes = Attribute(SecondLevelCacheBytesAttribute);
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

    /// <summary>What a GPU needs takes microseconds, but a system may stop it for seconds.</summary>
    public static TimeSpan DefaultPatience { get; } = TimeSpan.FromSeconds(30);

    /// <summary>How long the GPU may take for what somebody waits for, before it counts as lost.</summary>
    public TimeSpan Patience { get; }

    public string Name { get; }

    public int Ordinal { get; }

    /// <summary>1000 times the CUDA version's major number plus 10 times its minor one.</summary>
    public int DriverVersion { get; }

    public (int Major, int Minor) ComputeCapability { get; }

    public int MultiprocessorCount { get; }

    public int SecondLevelCacheBytes { get; }

    /// <summary>Whether its memory is the system's: a GPU within the processor.</summary>
    public bool SharesMemory { get; }

    /// <summary>Whether an error has happened after which every call fails, or the GPU has stopped answering.</summary>
    public bool IsLost => _loss is not null;

    /// <summary>
    /// Whether what was handed out may be given back. Not where the GPU has stopped answering without an error: the driver would
    /// wait for it, and the GPU may still write to memory that it sees. That memory is left to the end of the process.
    /// </summary>
    public bool MayRelease { get; private set; } = true;

    /// <summary>Functions to call; their results go to <see cref="Check"/>.</summary>
    public ref readonly DriverTable Driver => ref _driver;

    /// <summary>How many GPUs there are, at least 1.</summary>
    /// <param name="driver">The driver's functions.</param>
    /// <exception cref="CudaException">There is none, or the driver is too old or does not work.</exception>
    public static int Count(in DriverTable driver) => Start(driver).Count;

    public static string VersionText(int version) => $"{version / 1000}.{version % 1000 / 10}";

    /// <summary>
    /// Makes this the calling thread's GPU. Asked for each time: other code may have given the thread another one, and one
    /// that is opened again looks the same as before. The thread's calls do not concern what others record either, such as an application that uses CUDA by itself.
    /// </summary>
    /// <exception cref="GpuLostException">The GPU was lost earlier, and the message says by what, or given back.</exception>
    public void SetCurrent()
    {
        if (_loss is { } loss)
        {
            throw new GpuLostException($"{Name} was lost by an earlier error: {loss}");
        }

        if (_context == 0)
        {
            // No context at all would be made current, and the call after this one would fail.
            throw new GpuLostException($"{Name} was given back: the model does not run on it any more.");
        }

        Check(Driver.CtxSetCurrent(_context));
        CaptureMode mode = CaptureMode.ThreadLocal;
        Check(Driver.ThreadExchangeStreamCaptureMode(&mode));
    }

    /// <summary>The same for clean-up, on a GPU that is lost too: without it the driver would give nothing back, and where another one has the context too nothing would ever be.</summary>
    public void SetCurrentToRelease()
    {
        if (MayRelease)
        {
            Release(Driver.CtxSetCurrent(_context));
            CaptureMode mode = CaptureMode.ThreadLocal;
            Release(Driver.ThreadExchangeStreamCaptureMode(&mode));
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

    /// <summary>
    /// Bytes that may be taken. Where memory is the system's, the driver counts as taken what the system gives up on demand too, above all pages of files: those of a checkpoint that was
    /// just downloaded may be all that there is.
    /// </summary>
    /// <param name="ofSystem">Bytes of main memory that the process may take, asked where these are the GPU's; null where nobody knows.</param>
    public long FreeBytes(Func<long>? ofSystem)
    {
        (long free, long total) = MemoryInfo();
        return SharesMemory && ofSystem is not null ? Math.Max(free, Math.Min(ofSystem(), total)) : free;
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

        throw result.IsSticky() ? Lost(result, call) : new CudaException(result, FunctionOf(call), NameOf(result));
    }

    /// <summary>For clean-up, which must go on: an error is ignored, but one that stays is remembered with the call that told of it.</summary>
    /// <param name="result">What the call returned.</param>
    /// <param name="call">Its source text, which names it.</param>
    public void Release(CUResult result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result.IsSticky())
        {
            Lost(result, call);
        }
    }

    /// <summary>Notes that the GPU cannot be relied on any more.</summary>
    /// <param name="cause">What has shown it; the first one is remembered.</param>
    public void MarkLost(CudaException cause) => _loss ??= cause.Message;

    /// <summary>Notes that the GPU cannot be relied on any more, though no call said so.</summary>
    /// <param name="what">It did, in the past tense.</param>
    public GpuLostException Lose(string what)
    {
        var loss = new GpuLostException($"{Name} {what}.");
        MarkLost(loss);
        return loss;
    }

    /// <summary>Notes that the GPU has stopped answering.</summary>
    /// <param name="what">It has not done.</param>
    public GpuLostException GiveUp(string what)
    {
        MayRelease = false;
        return Lose($"has not {what} within {Patience.TotalSeconds:0.###} s");
    }

    public void Dispose()
    {
        if (_context != 0)
        {
            _context = 0;
            if (MayRelease)
            {
                Release(Driver.DevicePrimaryCtxRelease(_device));
            }
        }
    }

    /// <summary>The driver's function in the text of a call: cuMemAlloc of _context.Driver.MemAlloc(&amp;p, bytes).</summary>
    internal static string FunctionOf(string call)
    {
        int end = call.IndexOf('(', StringComparison.Ordinal);
        string path = end < 0 ? call : call[..end];
        return "cu" + path[(path.LastIndexOf('.') + 1)..];
    }

    internal string NameOf(CUResult result) => NameOf(Driver, result);

    private static string NameOf(in DriverTable driver, CUResult result)
    {
        byte* name = null;
        return driver.GetErrorName(result, &name) == CUResult.Success && name != null ? Marshal.PtrToStringUTF8((nint)name)! : $"error {(int)result}";
    }

    /// <summary>What comes before any GPU: no other call of the driver works until then.</summary>
    private static (int Version, int Count) Start(in DriverTable driver)
    {
        int version = 0;
        int count = 0;
        Require(driver, driver.Init(0));
        Require(driver, driver.DriverGetVersion(&version));
        if (version < MinimumDriverVersion)
        {
            throw new CudaException($"The NVIDIA driver supports CUDA {VersionText(version)}; {VersionText(MinimumDriverVersion)} is needed. Install driver 525 (CUDA 12.0) or newer.");
        }

        Require(driver, driver.DeviceGetCount(&count));
        return count > 0 ? (version, count) : throw new CudaException("No usable NVIDIA GPU: the driver sees none. See nvidia-smi and CUDA_VISIBLE_DEVICES.");
    }

    private static void Require(in DriverTable driver, CUResult result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result != CUResult.Success)
        {
            throw new CudaException(result, FunctionOf(call), NameOf(driver, result));
        }
    }

    private GpuLostException Lost(CUResult result, string call)
    {
        var loss = new GpuLostException(result, FunctionOf(call), NameOf(result));
        MarkLost(loss);
        return loss;
    }

    private int Attribute(int attribute)
    {
        int value = 0;
        Check(Driver.DeviceGetAttribute(&value, attribute, _device));
        return value;
    }
}
