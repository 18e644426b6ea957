// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text;

namespace KimiCpu.Cuda.Driver;

/// <summary>Kernels of one PTX text, translated for the GPU by its driver.</summary>
internal sealed unsafe class CudaModule : IDisposable
{
    private const int JitErrorLogBuffer = 5;
    private const int JitErrorLogBufferBytes = 6;
    private const int LogBytes = 8192;

    private readonly CudaContext _context;
    private readonly List<CudaKernel> _kernels = [];
    private nint _handle;

    /// <param name="context">The GPU.</param>
    /// <param name="ptx">The text, ending in a zero byte.</param>
    /// <exception cref="CudaException">The driver cannot translate it; the message has its log.</exception>
    public CudaModule(CudaContext context, ReadOnlySpan<byte> ptx)
    {
        _context = context;
        byte[] log = new byte[LogBytes];
        nint handle = 0;
        fixed (byte* text = ptx)
        fixed (byte* buffer = log)
        {
            int* options = stackalloc int[] { JitErrorLogBuffer, JitErrorLogBufferBytes };
            void** values = stackalloc void*[] { buffer, (void*)LogBytes };
            CUResult result = context.Driver.ModuleLoadDataEx(&handle, text, 2, options, values);
            if (result != CUResult.Success)
            {
                // A log that fills all of it need not end.
                int end = log.AsSpan().IndexOf((byte)0);
                string said = Encoding.UTF8.GetString(log.AsSpan(0, end < 0 ? log.Length : end)).Trim();
                context.Release(result, nameof(DriverTable.ModuleLoadDataEx));
                throw new CudaException(result, "cuModuleLoadDataEx", context.NameOf(result), said.Length == 0 ? null : $"The translator said: {said}");
            }
        }

        _handle = handle;
    }

    /// <summary>Those that were asked for.</summary>
    public IReadOnlyList<CudaKernel> Kernels => _kernels;

    private nint Handle => _handle != 0 ? _handle : throw new ObjectDisposedException(nameof(CudaModule));

    /// <param name="name">Of an entry.</param>
    /// <param name="threads">Of a block, what the entry is bounded to.</param>
    /// <param name="maxDynamicBytes">Most dynamic shared memory that a launch will ask for.</param>
    public CudaKernel GetKernel(string name, int threads, int maxDynamicBytes = 0)
    {
        nint function = 0;
        byte* text = (byte*)Marshal.StringToCoTaskMemUTF8(name);
        try
        {
            CUResult result = _context.Driver.ModuleGetFunction(&function, Handle, text);
            if (result == CUResult.ErrorNotFound)
            {
                throw new CudaException(result, "cuModuleGetFunction", _context.NameOf(result), $"There is no kernel {name}.");
            }

            _context.Check(result, nameof(DriverTable.ModuleGetFunction));
        }
        finally
        {
            Marshal.FreeCoTaskMem((nint)text);
        }

        var kernel = new CudaKernel(_context, name, function, threads, maxDynamicBytes);
        _kernels.Add(kernel);
        return kernel;
    }

    public void Dispose()
    {
        if (_handle != 0 && _context.MayRelease)
        {
            _context.Release(_context.Driver.ModuleUnload(_handle));
        }

        _handle = 0;
    }
}
