// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>An entry of a module with its block size. Lives as long as the module; owns nothing.</summary>
internal sealed unsafe class CudaKernel
{
    /// <summary>What a block has without asking.</summary>
    private const int DefaultDynamicBytes = 48 * 1024;
    private const int LocalBytesAttribute = 3;
    private const int RegistersAttribute = 4;
    private const int MaxDynamicSharedSizeBytesAttribute = 8;

    private readonly CudaContext _context;
    private readonly nint _function;

    public CudaKernel(CudaContext context, string name, nint function, int threads, int maxDynamicBytes)
    {
        _context = context;
        _function = function;
        Name = name;
        Threads = threads;
        if (maxDynamicBytes > DefaultDynamicBytes)
        {
            context.Check(context.Driver.FuncSetAttribute(function, MaxDynamicSharedSizeBytesAttribute, maxDynamicBytes));
        }
    }

    public string Name { get; }

    /// <summary>Of a block, at most.</summary>
    public int Threads { get; }

    /// <summary>Registers of a thread, as translated for this GPU.</summary>
    public int Registers => Attribute(RegistersAttribute);

    /// <summary>Bytes of memory of a thread's own: more than 0 where it has too few registers.</summary>
    public int LocalBytes => Attribute(LocalBytesAttribute);

    /// <summary>Puts a run into the stream. The arguments are copied at once.</summary>
    /// <typeparam name="TArguments">The struct that is the entry's only parameter, laid out as the entry's.</typeparam>
    /// <param name="stream">Where to.</param>
    /// <param name="gridX">Blocks.</param>
    /// <param name="gridY">Blocks.</param>
    /// <param name="gridZ">Blocks.</param>
    /// <param name="arguments">The parameter.</param>
    /// <param name="dynamicBytes">Dynamic shared memory of a block.</param>
    /// <param name="threads">Of a block, at most <see cref="Threads"/>; null for these.</param>
    public void Launch<TArguments>(CudaStream stream, int gridX, int gridY, int gridZ, in TArguments arguments, int dynamicBytes = 0, int? threads = null)
        where TArguments : unmanaged
    {
        fixed (TArguments* pointer = &arguments)
        {
            void* parameter = pointer;
            _context.Check(_context.Driver.LaunchKernel(_function, (uint)gridX, (uint)gridY, (uint)gridZ, (uint)(threads ?? Threads), 1, 1, (uint)dynamicBytes, stream.Handle, &parameter, null));
        }
    }

    private int Attribute(int attribute)
    {
        int value = 0;
        _context.Check(_context.Driver.FuncGetAttribute(&value, attribute, _function));
        return value;
    }
}
