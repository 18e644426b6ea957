// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>
/// A CUDA driver with one GPU, or several of which one is in use at a time, behind the same table of functions as NVIDIA's, that runs kernels in the interpreter. Its
/// streams are lazy: work runs only when somebody waits for it or asks about it, one piece for each question, so that a missing wait is seen.
/// Every call can be made to fail, and everything handed out is counted. One at a time in each test, for all threads and models of the test.
/// </summary>
internal sealed unsafe partial class SimulatedDriver : IDisposable
{
    /// <summary>Memory of a GPU where a test asks for no other.</summary>
    public const long DefaultBytes = 64 << 20;

    private static readonly ConcurrentDictionary<string, PtxModule> s_modules = [];

    /// <summary>Its functions are static, as those of a table are. Threads that a test starts, and those of what it opens, have the test's driver.</summary>
    private static readonly AsyncLocal<SimulatedDriver?> s_current = new();

    /// <summary>Whose context is the thread's.</summary>
    [ThreadStatic]
    private static SimulatedDriver? s_currentOfThread;

    /// <summary>Contexts from here on are an application's own.</summary>
    private const nint FirstOfApplications = 64;

    /// <summary>That context: 1 for the first GPU's, 2 for the second's; or an application's.</summary>
    [ThreadStatic]
    private static nint s_contextOfThread;

    /// <summary>Whose thread it is by its calls, and how these concern what others record.</summary>
    [ThreadStatic]
    private static (SimulatedDriver? Driver, CaptureMode Mode) s_modeOfThread;

    private readonly DeviceMemory _memory = new();
    private readonly HashSet<ulong> _deviceAllocations = [];
    private readonly HashSet<ulong> _hostAllocations = [];
    private readonly Dictionary<nint, object> _handles = [];
    private readonly PtxMachine _machine;

    /// <summary>Held during a call: the driver is for all threads.</summary>
    private readonly Lock _gate = new();

    private nint _lastHandle;
    private bool _refusesHostMemory;
    private int _users = 1;
    private int _retained;
    private long _pieces;
    private long _copiedBytes;
    private CUResult _sticky;

    public SimulatedDriver()
    {
        Assert.That(s_current.Value, Is.Null, "a test has one simulated driver at a time");
        s_current.Value = this;
        _machine = new PtxMachine(_memory);
    }

    public int DeviceCount { get; init; } = 1;

    public int Version { get; init; } = 12000;

    public (int Major, int Minor) ComputeCapability { get; init; } = (8, 6);

    /// <summary>Of GPUs that differ from <see cref="ComputeCapability"/>.</summary>
    public Dictionary<int, (int Major, int Minor)> ComputeCapabilityOf { get; } = [];

    public int Multiprocessors { get; init; } = 82;

    public int SecondLevelCacheBytes { get; init; } = 6 << 20;

    public bool SharesMemory { get; init; }

    public long TotalBytes { get; init; } = DefaultBytes;

    /// <summary>Of GPUs that differ from <see cref="TotalBytes"/>.</summary>
    public Dictionary<int, long> TotalBytesOf { get; } = [];

    /// <summary>Of it that the driver says is free and does not give: another program has taken it since.</summary>
    public long TakenBytes { get; init; }

    /// <summary>Of it that the driver says is taken and gives all the same: pages of files, where memory is the system's.</summary>
    public long CachedBytes { get; init; }

    /// <summary>Memory that each recording takes that can be launched.</summary>
    public long GraphBytes { get; set; }

    /// <summary>Main memory that may be page-locked.</summary>
    public long TotalHostBytes { get; init; } = long.MaxValue;

    /// <summary>Whether it counts against the GPU's memory, as under Windows: where that is full it is refused, and from then on to the process altogether.</summary>
    public bool ChargesHostMemory { get; init; }

    /// <summary>Of it now.</summary>
    public long HostBytes
    {
        get;
        private set
        {
            field = value;
            MostHostBytes = Math.Max(MostHostBytes, value);
        }
    }

    /// <summary>Of it at any time so far.</summary>
    public long MostHostBytes { get; private set; }

    /// <summary>The call that fails, counted from 1; 0 for none.</summary>
    public int FailingCall { get; set; }

    /// <summary>The function whose next call fails; null for none.</summary>
    public string? FailingFunction { get; set; }

    /// <summary>What it fails with.</summary>
    public CUResult Failure { get; set; } = CUResult.ErrorUnknown;

    /// <summary>Whether the GPU has stopped running work without an error.</summary>
    public bool Hangs { get; set; }

    /// <summary>Stands in for the kernel of its name in every module.</summary>
    public PtxKernel? Replaced { get; init; }

    public int Calls { get; private set; }

    public Dictionary<string, int> CallsOf { get; } = [];

    /// <summary>The functions called, in order.</summary>
    public List<string> Sequence { get; } = [];

    /// <summary>
    /// What the calling thread has as its context; 0 for none. To set it, to 64 or more, is to be an application that uses CUDA by itself.
    /// </summary>
    public nint ContextOfThread
    {
        get => s_currentOfThread == this || s_contextOfThread >= FirstOfApplications ? s_contextOfThread : 0;
        set => (s_currentOfThread, s_contextOfThread) = (null, value);
    }

    /// <summary>How the calling thread's calls concern what other threads record, such as an application's: in the mode that threads begin with they would break it, so no call comes in that.</summary>
    public CaptureMode ModeOfThread
    {
        get => s_modeOfThread.Driver == this ? s_modeOfThread.Mode : CaptureMode.Global;
        set => s_modeOfThread = (this, value);
    }

    /// <summary>How often each kernel was put into a stream or a graph.</summary>
    public Dictionary<string, int> LaunchesOf { get; } = [];

    /// <summary>Told of each of these: the kernel, threads of a block, and its arguments.</summary>
    public Action<string, int, byte[]>? Launched { get; set; }

    /// <summary>What the interpreter found wrong; the driver only says that an address was illegal.</summary>
    public string? Fault { get; private set; }

    public PtxMachine Machine => _machine;

    /// <summary>Bytes of its own memory that a thread of a kernel has, by the kernel's name; 0 for others.</summary>
    public Dictionary<string, int> LocalBytesOf { get; } = [];

    /// <summary>
    /// The GPU's clock, which only its work moves on: by a microsecond for each piece, a nanosecond for each instruction of a
    /// warp, and one for each byte of a copy.
    /// </summary>
    public long Nanoseconds => (1000 * _pieces) + _machine.Instructions + _copiedBytes;

    /// <summary>Bytes of the device that are taken.</summary>
    public long DeviceBytes { get; private set; }

    /// <summary>Everything handed out and not given back: allocations, handles, the context.</summary>
    public int LiveObjects => _deviceAllocations.Count + _hostAllocations.Count + _handles.Count + _retained;

    public DriverTable Table => Metered(new DriverTable
    {
        Init = &Init,
        DriverGetVersion = &DriverGetVersion,
        GetErrorName = &GetErrorName,
        DeviceGetCount = &DeviceGetCount,
        DeviceGet = &DeviceGet,
        DeviceGetName = &DeviceGetName,
        DeviceGetAttribute = &DeviceGetAttribute,
        DevicePrimaryCtxRetain = &DevicePrimaryCtxRetain,
        DevicePrimaryCtxRelease = &DevicePrimaryCtxRelease,
        CtxGetCurrent = &CtxGetCurrent,
        CtxSetCurrent = &CtxSetCurrent,
        MemGetInfo = &MemGetInfo,
        MemAlloc = &MemAlloc,
        MemFree = &MemFree,
        MemHostAlloc = &MemHostAlloc,
        MemFreeHost = &MemFreeHost,
        MemHostGetDevicePointer = &MemHostGetDevicePointer,
        MemcpyHtoDAsync = &MemcpyHtoDAsync,
        MemcpyDtoHAsync = &MemcpyDtoHAsync,
        MemcpyDtoDAsync = &MemcpyDtoDAsync,
        MemsetD8Async = &MemsetD8Async,
        ModuleLoadDataEx = &ModuleLoadDataEx,
        ModuleUnload = &ModuleUnload,
        ModuleGetFunction = &ModuleGetFunction,
        FuncSetAttribute = &FuncSetAttribute,
        FuncGetAttribute = &FuncGetAttribute,
        LaunchKernel = &LaunchKernel,
        StreamCreateWithPriority = &StreamCreateWithPriority,
        StreamDestroy = &StreamDestroy,
        StreamQuery = &StreamQuery,
        StreamWaitEvent = &StreamWaitEvent,
        EventCreate = &EventCreate,
        EventDestroy = &EventDestroy,
        EventRecord = &EventRecord,
        EventQuery = &EventQuery,
        EventElapsedTime = &EventElapsedTime,
        ThreadExchangeStreamCaptureMode = &ThreadExchangeStreamCaptureMode,
        StreamBeginCapture = &StreamBeginCapture,
        StreamEndCapture = &StreamEndCapture,
        GraphInstantiateWithFlags = &GraphInstantiateWithFlags,
        GraphLaunch = &GraphLaunch,
        GraphExecDestroy = &GraphExecDestroy,
        GraphDestroy = &GraphDestroy,
    });

    /// <summary>Reading the shipped kernels takes a moment; they stay decoded.</summary>
    public static PtxModule ModuleOf(string text) => s_modules.GetOrAdd(text, static t => new PtxModule(t));

    /// <summary>The driver of the running test for one more who disposes of it; null where the test has none.</summary>
    public static SimulatedDriver? Join()
    {
        SimulatedDriver? driver = s_current.Value;
        if (driver is not null)
        {
            driver._users++;
        }

        return driver;
    }

    /// <summary>It goes with the last of its users.</summary>
    public void Dispose()
    {
        if (--_users > 0)
        {
            return;
        }

        s_current.Value = null;
        _machine.Dispose();
        _memory.Dispose();
    }

    /// <summary>Runs a call of the driver, unless it is to fail or the GPU is lost.</summary>
    private static CUResult Enter(Func<SimulatedDriver, CUResult> call, [CallerMemberName] string function = "", bool needsContext = true)
    {
        SimulatedDriver driver = s_current.Value!;
        using Lock.Scope entered = driver._gate.EnterScope();
        driver.Calls++;
        driver.Sequence.Add(function);
        driver.CallsOf[function] = driver.CallsOf.GetValueOrDefault(function) + 1;
        if (driver.FailingCall == driver.Calls || driver.FailingFunction == function)
        {
            driver.FailingFunction = null;
            driver._sticky = driver.Failure.IsSticky() ? driver.Failure : driver._sticky;
            return driver.Failure;
        }

        if (driver._sticky != CUResult.Success)
        {
            return driver._sticky;
        }

        try
        {
            return needsContext && driver.Objection is { } objection ? throw new PtxFault($"{function} is called by a thread {objection}") : call(driver);
        }
        catch (PtxFault e)
        {
            driver.Fault ??= e.Message;
            return driver._sticky = CUResult.ErrorIllegalAddress;
        }
    }

    /// <summary>Why the calling thread may not call what works on a GPU; null where it may.</summary>
    private string? Objection => s_currentOfThread != this ? "without a context" : ModeOfThread == CaptureMode.Global ? "whose calls break what others record" : null;

    private (int Major, int Minor) CapabilityOf(int device) => ComputeCapabilityOf.GetValueOrDefault(device, ComputeCapability);

    /// <summary>Memory of the thread's GPU.</summary>
    private long BytesOfGpu => TotalBytesOf.GetValueOrDefault((int)s_contextOfThread - 1, TotalBytes);

    /// <summary>Of that taken.</summary>
    private long TakenOfGpu => DeviceBytes + (ChargesHostMemory ? HostBytes : 0);

    private nint Add(object value)
    {
        _handles.Add(++_lastHandle, value);
        return _lastHandle;
    }

    private CUResult Remove<T>(nint handle)
        where T : class
    {
        if (!_handles.TryGetValue(handle, out object? value) || value is not T)
        {
            return CUResult.ErrorInvalidHandle;
        }

        _handles.Remove(handle);
        return CUResult.Success;
    }

    private T Get<T>(nint handle)
        where T : class =>
        _handles.TryGetValue(handle, out object? value) && value is T found ? found : throw new PtxFault($"handle {handle} is no {typeof(T).Name}");

    private CUResult Put(nint stream, Action work)
    {
        SimulatedStream s = Get<SimulatedStream>(stream);
        (s.Recording ?? s.Pending).Enqueue(work);
        return CUResult.Success;
    }

    private void Run(Action work)
    {
        _pieces++;
        work();
    }

    /// <summary>Runs what comes before a mark, for a stream that waits for it.</summary>
    private void RunUntil(SimulatedMark mark)
    {
        while (mark.Nanoseconds is null)
        {
            Run(mark.Stream.Pending.TryDequeue(out Action? work) ? work : throw new PtxFault("a stream waits for a mark that no work leads to"));
        }
    }

    private void Copy(void* source, void* target, nuint bytes)
    {
        NativeMemory.Copy(source, target, bytes);
        _copiedBytes += (long)bytes;
    }

    private void RequireDevice(ulong address, nuint bytes)
    {
        DeviceMemory.Allocation found = _memory.Find(address, bytes) ?? throw new PtxFault($"a copy touches {bytes} bytes at 0x{address:x}, outside every allocation");
        if (!_deviceAllocations.Contains(found.Address))
        {
            throw new PtxFault("a copy takes the host's memory for the device's");
        }
    }

    private void RequireHost(void* address, nuint bytes)
    {
        if (_memory.Find((ulong)address, bytes) is not { } found || !_hostAllocations.Contains(found.Address))
        {
            throw new PtxFault($"a copy touches {bytes} bytes of the host that are not page-locked");
        }
    }

    private sealed class SimulatedStream
    {
        public Queue<Action> Pending { get; } = new();

        /// <summary>Null while nothing is recorded.</summary>
        public Queue<Action>? Recording { get; set; }
    }

    private sealed class SimulatedEvent(bool timed)
    {
        public bool Timed { get; } = timed;

        /// <summary>Its latest place in a stream; null where it never was recorded.</summary>
        public SimulatedMark? Mark { get; set; }
    }

    /// <summary>A place in a stream.</summary>
    private sealed class SimulatedMark(SimulatedStream stream)
    {
        public SimulatedStream Stream { get; } = stream;

        /// <summary>When it was reached; null before.</summary>
        public long? Nanoseconds { get; set; }
    }

    private sealed record SimulatedGraph(Action[] Work);

    private sealed record SimulatedGraphExec(Action[] Work, long Bytes);

    private sealed class SimulatedFunction(PtxKernel kernel)
    {
        public PtxKernel Kernel { get; } = kernel;

        public int MaxDynamicBytes { get; set; } = 48 * 1024;
    }

    private static string Text(byte* text) => Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text));
}
